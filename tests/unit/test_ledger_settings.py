"""What the gateway is told for the ledger: prices of nodes, and who is kept warm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.gateway.config import PaidPool, WarmHours, gateway_yaml
from components.platforms.contract import Pool
from infra.program.gateway import gateway_settings, paid_pools, warm_hours
from infra.stackfile.node_price import node_price
from tests.unit import gateway_kit  # puts the image's package on the path
from tests.unit.plan_kit import stack

from ebbtide_gateway import settings as process_settings  # isort: skip

assert gateway_kit
DATABASE = {"database": {"kind": "existing", "secret": "accounts", "networks": ["10.40.0.0/16"]}}
HOURS = {"days": "weekdays", "from": "08:00", "to": "18:00", "timezone": "Europe/Berlin", "ahead": "30m"}
LABELS = {"workerType": "gpu_1xa10"}


def test_a_gateway_reads_the_prices_and_hours_that_it_is_given(tmp_path: Path) -> None:
    config = stack(tmp_path, DATABASE, schedules={"office": HOURS})
    file = tmp_path / "gateway.yaml"
    pools = {"one": Pool("one", LABELS, (), 1, max_nodes=2)}
    file.write_text(gateway_yaml(gateway_settings(config, "http://hop", "keda", pools=pools)))
    database = process_settings.load(file).database
    assert database is not None
    (pool,) = database.pools
    assert (pool.name, pool.labels, pool.gpu_resource, pool.standing) == ("one", LABELS, "nvidia.com/gpu", False)
    assert pool.usd_per_hour is not None
    assert float(pool.usd_per_hour) == node_price(config.pools["one"], config.platform.region).paid
    (warm,) = database.warm
    assert (warm.model, sorted(warm.days), warm.start, warm.end) == ("eight", [0, 1, 2, 3, 4], 480, 1080)
    assert (warm.timezone, warm.ahead, warm.replicas) == ("Europe/Berlin", 30, 1)


@pytest.mark.parametrize(("least", "most", "stands"), [(0, 2, False), (1, 2, False), (2, 2, True)])
def test_nodes_stand_where_a_pool_has_no_fewer(tmp_path: Path, least: int, most: int, stands: bool) -> None:
    (pool,) = paid_pools(stack(tmp_path), {"one": Pool("one", LABELS, (), 1, min_nodes=least, max_nodes=most)})
    assert isinstance(pool, PaidPool)
    assert pool.standing is stands


def test_a_model_with_a_min_is_kept_always(tmp_path: Path) -> None:
    kept: dict[str, Any] = {"min": 1, "minReason": "the shop asks all day"}
    assert warm_hours(stack(tmp_path, **kept)) == [WarmHours(model="eight", replicas=1)]
    assert warm_hours(stack(tmp_path)) == []
