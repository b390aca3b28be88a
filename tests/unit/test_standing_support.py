"""What longer support of a Kubernetes version adds to a stack's bill."""

from __future__ import annotations

from typing import Any

import pytest

from components.platforms.kinds import KINDS
from components.platforms.standing import StandingFacts
from infra.stackfile.load import load_file
from infra.workspace import PROJECT

ASKED = {"aws": {"support": "extended"}, "azure": {"support": "extended"}, "gcp": {"release_channel": "EXTENDED"}}


def prices(cloud: str, **cluster: str) -> set[str]:
    settings: Any = load_file(PROJECT / "stacks" / f"Pulumi.{cloud}-prod.yaml").config.platform
    changed = settings.cluster.model_copy(update=cluster)
    stands = KINDS[cloud].standing()
    assert stands is not None
    asked = StandingFacts(environment="prod", protect=True, weights_gib=0, gpu_nodes=(0, 0))
    standing_parts = stands(settings.model_copy(update={"cluster": changed}), asked)
    return {item.price for item in standing_parts.items if item.price is not None}


@pytest.mark.parametrize("cloud", ASKED)
def test_longer_support_has_a_line_in_the_bill(cloud: str) -> None:
    more = prices(cloud, **ASKED[cloud]) - prices(cloud)
    assert more == ({"control-plane-premium"} if cloud == "azure" else {"extended-support"})
