"""Dangerous edits by a seed, in the true graph of each shipped stack: the share that the rules over the graph catch.

The comparison with what the base's program asks for must tell every one of them.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from infra.gate.diff import all_differences
from tests.policies import shapes_kit as kit
from tests.policies.random_edits import EDITS, edited

pytest.importorskip("pulumi_aws")
pytest.importorskip("pulumi_azure_native")
pytest.importorskip("pulumi_gcp")
# per stack; EBBTIDE_EXAMPLES=many for a night
COUNT = {"ci": 200, "many": 2000}.get(os.environ.get("EBBTIDE_EXAMPLES", "dev"), 40)
SHIPPED = [index for index, (name, _) in enumerate(kit.stacks()) if kit.index_of(name) == index]


@pytest.mark.parametrize("index", SHIPPED, ids=lambda index: kit.stacks()[index][0])
def test_every_dangerous_edit_of_a_shipped_stack_is_caught(index: int) -> None:
    tried: Counter[str] = Counter()
    missed: list[str] = []
    for seed in range(COUNT):
        entries = kit.graph(index)
        sort, edit = edited(entries, seed)
        tried[sort] += 1
        assert all_differences(kit.graph(index), entries), (sort, seed, edit)
        if not kit.is_blocked(index, entries):
            missed.append(f"{sort}, seed {seed}: {edit}")
    print(f"{kit.stacks()[index][0]}: {COUNT - len(missed)} of {COUNT} caught, {dict(tried)}")
    assert set(tried) == set(EDITS)
    # in the lab a Service is reached from its machine alone, and nobody lists the fields of KEDA's own manifests there
    assert len(missed) <= (COUNT // 10 if kit.stacks()[index][0] == "local" else 0), missed
