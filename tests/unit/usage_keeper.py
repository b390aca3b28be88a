"""The part of the wake keeper that tells each gateway what the others have used, before real gateways."""

from __future__ import annotations

from aiohttp import web

from tests.unit import gateway_kit as kit

from ebbtide_keeper.group_usage import GroupUsage  # isort: skip


class UsageKeeper:
    """It, listening. ``gateways``: those it asks, from then on."""

    def __init__(self) -> None:
        self.gateways: list[kit.Gateway] = []
        self.used = GroupUsage(lambda: [each.metrics_url.removesuffix("/metrics") for each in self.gateways])
        app = web.Application()
        app.router.add_get("/wakes", self._wakes)
        app.router.add_get("/requests", self._requests)
        self.served = kit.Served(app)

    async def _wakes(self, _: web.Request) -> web.Response:
        return web.json_response(await self.used.wakes())

    async def _requests(self, _: web.Request) -> web.Response:
        return web.json_response(await self.used.requests())

    def stop(self) -> None:
        """End it, if it is not yet."""
        if self.served.running:
            self.served.stop()
