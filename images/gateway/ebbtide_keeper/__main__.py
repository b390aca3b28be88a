"""Entry point ``python -m ebbtide_keeper``: reads the configuration, keeps watch, answers Prometheus until SIGTERM."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import get_args

import yaml
from aiohttp import web
from ebbtide_kube.api import SERVICE_ACCOUNT, connect
from pydantic import ValidationError

from .app import REQUESTS, WAKES, KeeperApp
from .causes import Reason
from .gpu_turns import GpuTurns, remembered
from .group_usage import GroupUsage
from .in_flight import Loads, Waiting
from .keeper import Keeper
from .metrics import CONTENT_TYPE, Metrics
from .scale_in import ScaleIn
from .settings import load


def main() -> int:
    """Serve until SIGTERM. Returns exit status 2 for a configuration that cannot be used."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    config = Path(os.environ.get("EBBTIDE_KEEPER_CONFIG", "/etc/ebbtide/config/keeper.yaml"))
    account = Path(os.environ.get("EBBTIDE_KEEPER_SERVICE_ACCOUNT", str(SERVICE_ACCOUNT)))
    try:
        settings = load(config)
    except (OSError, yaml.YAMLError, ValidationError) as problem:
        print(f"{config}: {problem}", file=sys.stderr)
        return 2
    metrics = Metrics((model.name for model in settings.models), get_args(Reason))
    keeper = Keeper(settings, connect(settings.api_server, account), account / "token", metrics)
    # KEDA gets "unknown" rather than an old number; the turns on a card are decided all the same
    recent = settings.recent_seconds
    loads = Loads(keeper.gateways, recent)
    cards = GpuTurns(settings.models, remembered(keeper.pods), Loads(remembered(keeper.gateways), recent).all, metrics)
    several = {model.name for model in settings.models if model.scales_in}
    scale_in = ScaleIn(several, keeper.pods, loads.all, keeper.annotate)
    counted = {model.name for model in settings.models if model.counted}
    used = GroupUsage(remembered(keeper.gateways))
    beside = (cards.run, scale_in.run, *([used.run] if settings.remembers_wakes else []))
    usage = {WAKES: used.wakes, REQUESTS: used.requests}
    app = KeeperApp(keeper, metrics.text, CONTENT_TYPE, loads.of, Waiting(keeper.engines).of, counted, usage, beside)
    web.run_app(
        app.application(),
        # All addresses of the pod; the NetworkPolicy decides who may reach them.
        host=os.environ.get("EBBTIDE_KEEPER_HOST", "0.0.0.0"),  # noqa: S104
        port=int(os.environ.get("EBBTIDE_KEEPER_PORT", "9090")),
        access_log=None,
        print=None,
        shutdown_timeout=5,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
