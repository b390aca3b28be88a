"""``python -m ebbtide_gateway``: read the configuration, listen, serve until SIGTERM."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import uvicorn
import yaml
from pydantic import ValidationError

from .budgets import Budgets
from .cluster import SERVICE_ACCOUNT, Watched, connect, deployments, endpoint_slices, groups, scaled_objects
from .elsewhere import Elsewhere
from .failed_wakes import FailedWakes
from .front import Gateway
from .guard import Taken, WakeGuard
from .keys import KeyFile
from .metrics import Metrics
from .replicas import Replicas
from .settings import Settings, load
from .upstream import WakeTransport
from .workloads import Workloads


def application(settings: Settings, keys: Path, metrics: Metrics, account: Path = SERVICE_ACCOUNT) -> Gateway:
    """Put the parts together."""
    view: Workloads
    scaled: Watched
    slices: Watched

    def observe() -> Taken | None:
        return view.taken()

    guard = WakeGuard(settings.guard, {model.name: model.gpus for model in settings.models}, observe)
    client = connect(settings.cluster.api_server, account)
    replicas = Replicas(lambda: slices.seen)
    metrics.count(replicas, [model.name for model in settings.models])
    transport = WakeTransport(settings.interceptor_url, settings.limits.request_seconds, replicas)
    gateway: Gateway

    def changed() -> None:
        guard.changed()
        gateway.looked()

    place, token = settings.cluster, account / "token"
    # a cluster without LeaderWorkerSets knows no list of them
    kinds = (deployments, groups) if place.groups else (deployments,)
    view = Workloads(client, [kind(place.namespace) for kind in kinds], token, changed)
    failed = FailedWakes(lambda: scaled.seen)
    scaled = Watched(
        client,
        scaled_objects(place.namespace),
        token,
        failed.changed,
        "requests for a model that cannot be woken are held",
    )
    slices = Watched(
        client,
        endpoint_slices(place.namespace),
        token,
        replicas.changed,
        "requests go to their models through the interceptor",
    )
    budgets = Budgets()
    metrics.count_used(budgets)
    gateway = Gateway(
        settings,
        KeyFile(keys),
        transport,
        guard,
        failed,
        (*view.views, scaled, slices),
        metrics,
        budgets,
        Elsewhere(settings.keeper_url, budgets),
    )
    return gateway


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
    # The pod's own address; who may reach it is the NetworkPolicy's matter.
    host = os.environ.get("EBBTIDE_GATEWAY_HOST", "0.0.0.0")  # noqa: S104
    metrics = Metrics()
    metrics.serve(host, int(os.environ.get("EBBTIDE_GATEWAY_METRICS_PORT", "9090")))
    uvicorn.run(
        application(settings, keys, metrics, account),
        host=host,
        port=int(os.environ.get("EBBTIDE_GATEWAY_PORT", "4000")),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        loop="uvloop",
        http="httptools",
        ws="none",
        # longer than any load balancer keeps an idle connection (4000 s at most): one that we close first may just be
        # carrying the next request, and its client gets a 502
        timeout_keep_alive=4100,
        timeout_graceful_shutdown=settings.limits.shutdown_seconds,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
