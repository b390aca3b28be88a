"""Entry point ``python -m ebbtide_gateway``: reads the configuration, listens, serves until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import uvloop
import yaml
from ebbtide_kube.api import SERVICE_ACCOUNT, connect, deployments, endpoint_slices, groups, nodes, pods, scaled_objects
from ebbtide_kube.informer import Informer
from pydantic import ValidationError

from .app import Gateway
from .budgets import Budgets, SharedUsage
from .engine_deaths import EngineDeaths
from .failed_wakes import FailedWakes
from .guard import Usage, WakeGuard
from .keys import KeyFile
from .loaded_adapters import LoadedAdapters
from .metrics import Metrics
from .model_states import ModelStates
from .replicas import Replicas
from .server import Connections
from .settings import Database, Settings, load
from .upstream import WakeTransport
from .workloads import Workloads

if TYPE_CHECKING:
    from .accounts import Accounts
    from .admin import Admin
    from .batch_api import BatchApi
    from .batch_work import BatchWork


def application(settings: Settings, keys: Path, metrics: Metrics, account: Path = SERVICE_ACCOUNT) -> Gateway:
    """Build the gateway from its parts."""
    view: Workloads
    scaled: Informer
    slices: Informer

    def observe() -> Usage | None:
        return view.usage()

    guard = WakeGuard(settings.guard, {model.name: model.gpus for model in settings.models}, observe)
    client = connect(settings.cluster.api_server, account)
    replicas = Replicas(lambda: slices.items)
    metrics.count(replicas, [model.name for model in settings.models])
    deaths = EngineDeaths(died=metrics.engine_died)
    transport = WakeTransport(settings.interceptor_url, settings.limits.request_seconds, replicas, deaths)
    gateway: Gateway

    def changed() -> None:
        guard.changed()
        gateway.mark_ready()

    place, token = settings.cluster, account / "token"
    # the API of a cluster without LeaderWorkerSets has no list of them
    kinds = (deployments, groups) if place.groups else (deployments,)
    view = Workloads(client, [kind(place.namespace) for kind in kinds], token, changed)
    failed = FailedWakes(lambda: scaled.items)
    scaled = Informer(
        client,
        scaled_objects(place.namespace),
        token,
        failed.changed,
        "requests for a model that cannot be woken are held",
    )
    slices = Informer(
        client,
        endpoint_slices(place.namespace),
        token,
        replicas.changed,
        "requests go to their models through the interceptor",
    )
    adapters = LoadedAdapters(settings, client, token)
    budgets = Budgets()
    metrics.count_used(budgets)
    key_file = KeyFile(keys)
    parts = (
        None
        if settings.database is None
        else database(settings.database, place.namespace, client, token, metrics, budgets, key_file, adapters, replicas)
    )
    gateway = Gateway(
        settings,
        key_file,
        transport,
        guard,
        failed,
        (
            *view.views,
            scaled,
            slices,
            *((adapters.view,) if adapters.view is not None else ()),
            *(parts.views if parts is not None else ()),
        ),
        metrics,
        budgets,
        SharedUsage(settings.keeper_url, budgets),
        ModelStates(guard, observe, lambda: scaled.items),
        adapters,
        *((parts.accounts, parts.admin, parts.batch_api, parts.batch_work) if parts is not None else ()),
    )
    return gateway


@dataclass(frozen=True)
class DatabaseParts:
    """Parts of a gateway with a database. ``views``: of the nodes and pods that are charged."""

    accounts: Accounts
    admin: Admin
    batch_api: BatchApi
    batch_work: BatchWork
    views: tuple[Informer, ...]


def database(
    settings: Database,
    namespace: str,
    client: httpx.AsyncClient,
    token: Path,
    metrics: Metrics,
    budgets: Budgets,
    keys: KeyFile,
    adapters: LoadedAdapters,
    replicas: Replicas,
) -> DatabaseParts:
    """Build the parts of a gateway with a database: without one nothing of theirs is imported."""
    from .accounts import Accounts
    from .admin import Admin
    from .batch_api import BatchApi
    from .batch_work import BatchWork
    from .lives import Lives, common_label
    from .usage import UsageLog

    lives = Lives(settings.pools, lambda: seen_nodes.items, lambda: seen_pods.items, settings.seen_seconds)
    without = "what nodes and pods cost is not followed"
    seen_nodes = Informer(client, nodes(), token, lives.changed, without, common_label(settings.pools))
    seen_pods = Informer(client, pods(namespace), token, lives.changed, without)
    log = UsageLog(metrics.count_database(lambda: accounts.is_up, lambda: len(accounts.log)))
    accounts = Accounts(settings, log, budgets.sums, lives)
    admin = Admin(accounts, lambda: adapters.models)
    work = BatchWork(accounts, keys, lambda: adapters.models, replicas, settings.batch_seconds)
    # a stack without pools has nothing to charge
    views = (seen_nodes, seen_pods) if settings.pools else ()
    return DatabaseParts(accounts, admin, BatchApi(accounts, work.forecast), work, views)


def main() -> int:
    """Serve until SIGTERM. Returns exit status 2 for a configuration that cannot be used."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    config = Path(os.environ.get("EBBTIDE_GATEWAY_CONFIG", "/etc/ebbtide/config/gateway.yaml"))
    keys = Path(os.environ.get("EBBTIDE_GATEWAY_KEYS", "/etc/ebbtide/keys/keys.json"))
    account = Path(os.environ.get("EBBTIDE_GATEWAY_SERVICE_ACCOUNT", str(SERVICE_ACCOUNT)))
    try:
        settings = load(config)
    except (OSError, yaml.YAMLError, ValidationError) as problem:
        print(f"{config}: {problem}", file=sys.stderr)
        return 2
    # All addresses of the pod; the NetworkPolicy decides who may reach them.
    host = os.environ.get("EBBTIDE_GATEWAY_HOST", "0.0.0.0")  # noqa: S104
    port = int(os.environ.get("EBBTIDE_GATEWAY_PORT", "4000"))
    # a held request uses two connections, and a container may be started with a limit of 1024
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    metrics = Metrics()
    metrics.serve(host, int(os.environ.get("EBBTIDE_GATEWAY_METRICS_PORT", "9090")))
    uvloop.run(serve(settings, keys, metrics, account, host, port))
    return 0


async def serve(settings: Settings, keys: Path, metrics: Metrics, account: Path, host: str, port: int) -> None:
    """Serve until SIGTERM and, since balancers hear of it later, ``leave_seconds`` more, or until a second signal. Then
    accept no new connection and drain the open ones.
    """
    gateway = application(settings, keys, metrics, account)
    connections = Connections(gateway.answer, gateway.refused, settings.limits)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, stop.set)
    async with gateway.running():
        listener = await loop.create_server(connections, host, port, backlog=2048)
        watching = asyncio.create_task(connections.watch())
        await stop.wait()
        stop.clear()
        connections.going = True
        gateway.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.limits.leave_seconds):
                await stop.wait()
        listener.close()
        await connections.drain()
        watching.cancel()


if __name__ == "__main__":
    raise SystemExit(main())
