"""``python -m ebbtide_gateway``: read the configuration, listen, serve until SIGTERM."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import uvicorn
import yaml
from pydantic import ValidationError

from .cluster import SERVICE_ACCOUNT, Workloads, connect, workloads
from .engine import Engine
from .front import Gateway
from .guard import Taken, WakeGuard
from .keys import KeyFile
from .settings import Settings, load


def application(settings: Settings, keys: Path, account: Path = SERVICE_ACCOUNT) -> Gateway:
    """Put the parts together."""
    view: Workloads

    def observe() -> Taken | None:
        return view.taken()

    guard = WakeGuard(settings.guard, {model.name: model.gpus for model in settings.models}, observe)
    client = connect(settings.cluster.api_server, account)
    place = settings.cluster
    view = workloads(client, place.namespace, place.groups, account / "token", guard.changed)
    return Gateway(settings, KeyFile(keys), Engine(settings), guard, view)


def main() -> int:
    """Serve. Exit status 2 for a configuration that cannot be used."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    config = Path(os.environ.get("EBBTIDE_GATEWAY_CONFIG", "/etc/ebbtide/config/gateway.yaml"))
    keys = Path(os.environ.get("EBBTIDE_GATEWAY_KEYS", "/etc/ebbtide/keys/keys.json"))
    account = Path(os.environ.get("EBBTIDE_GATEWAY_SERVICE_ACCOUNT", str(SERVICE_ACCOUNT)))
    try:
        settings = load(config)
    except (OSError, yaml.YAMLError, ValidationError) as problem:
        print(f"{config}: {problem}", file=sys.stderr)
        return 2
    uvicorn.run(
        application(settings, keys, account),
        # The pod's own address; who may reach it is the NetworkPolicy's matter.
        host=os.environ.get("EBBTIDE_GATEWAY_HOST", "0.0.0.0"),  # noqa: S104
        port=int(os.environ.get("EBBTIDE_GATEWAY_PORT", "4000")),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        # longer than any load balancer keeps an idle connection (4000 s at most): one that we close first may just be
        # carrying the next request, and its client gets a 502
        timeout_keep_alive=4100,
        timeout_graceful_shutdown=settings.limits.shutdown_seconds,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
