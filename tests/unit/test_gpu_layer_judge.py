"""What is refused before a GPU node exists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.catalog.machine import Machine
from components.catalog.machines import find
from components.gpu_layer import node_images as layer
from components.gpu_layer.judge import judge_gpu_layer
from components.platforms.contract import Pool, PoolRequest, Sharing
from components.typed.refusal import Problem


def machine(place: str, name: str) -> Machine:
    known = find(place, name)
    assert known is not None
    return known


A10G, A100, H100 = machine("aws", "g5.8xlarge"), machine("aws", "p4de.24xlarge"), machine("aws", "p5.48xlarge")
AZURE_A10, AZURE_A100 = machine("azure", "Standard_NV36ads_A10_v5"), machine("azure", "Standard_NC24ads_A100_v4")


def request(
    kind: Machine | None, image: str = "unknown", sharing: Sharing | None = None, least: int = 0
) -> PoolRequest:
    pool = Pool("p", {}, (), kind.gpus if kind else 1, min_nodes=least, node_image=image)
    return PoolRequest(pool=pool, machine=kind, sharing=sharing)


def judged(place: str, cuda: str | None = None, **pools: PoolRequest) -> list[Problem]:
    return list(judge_gpu_layer(pools, place, cuda))


def one(problems: list[Problem], number: int, *path: str) -> Problem:
    assert [int(p.code[3:]) for p in problems] == [number], problems
    assert problems[0].path == ("pools", *path)
    assert problems[0].allowed
    assert problems[0].fix
    return problems[0]


def test_the_usual_pools_of_every_cloud_pass() -> None:
    assert judged("aws", "13.0", a=request(A10G), b=request(H100)) == []
    assert judged("azure", "13.0", a=request(AZURE_A100)) == []
    assert judged("gcp", "13.0", a=request(machine("gcp", "g2-standard-16"))) == []
    assert judged("existing", "13.0", a=request(None)) == []


def test_an_unknown_node_image_gets_the_nearest_of_the_place() -> None:
    problem = one(judged("aws", a=request(A10G, "al2023-nvida")), 220, "a", "nodeImage")
    assert problem.fix == "write nodeImage: al2023-nvidia"
    one(judged("azure", a=request(AZURE_A100, "gke-cos")), 220, "a", "nodeImage")


def test_a_driver_of_the_operators_beside_an_image_with_its_own_is_refused() -> None:
    problems = judged("azure", a=request(AZURE_A100), b=request(AZURE_A100, "aks-ubuntu-no-driver"))
    problem = one(problems, 47, "a", "nodeImage")
    assert problem.value == "aks-ubuntu"
    assert "pool b" in problem.fix
    problems = judged("azure", b=request(AZURE_A100, "aks-ubuntu-no-driver"), a=request(AZURE_A100))
    one(problems, 47, "a", "nodeImage")


def test_node_images_that_ask_one_operator_for_different_things_are_refused() -> None:
    problem = one(judged("aws", a=request(A10G), b=request(A10G, "bottlerocket-nvidia")), 221, "b", "nodeImage")
    assert "pool a (al2023-nvidia)" in problem.message
    assert judged("gcp", a=request(machine("gcp", "g2-standard-16")), b=request(None, "gke-ubuntu")) == []


def test_a_vgpu_machine_keeps_its_places_driver() -> None:
    problem = one(judged("azure", a=request(AZURE_A10, "aks-ubuntu-no-driver")), 229, "a", "nodeImage")
    assert problem.allowed == "aks-ubuntu"
    assert judged("azure", a=request(AZURE_A10)) == []


def test_an_engine_newer_than_the_driver_of_its_node_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(layer.node_images())
    old = table["al2023-nvidia"].model_copy(update={"drivers": {"cuda": "570.26", "grid": None}})
    monkeypatch.setattr(layer, "node_images", lambda: {**table, "al2023-nvidia": old})
    problem = one(judged("aws", "13.0", a=request(A10G)), 43, "a", "nodeImage")
    assert problem.severity == "error"
    assert "has driver 570.26, and" in problem.message


def test_an_engine_newer_than_a_driver_that_its_place_renews_is_warned_of_with_the_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = dict(layer.node_images())
    old = table["aks-ubuntu"].model_copy(update={"drivers": {"cuda": "570.26", "grid": None}})
    monkeypatch.setattr(layer, "node_images", lambda: {**table, "aks-ubuntu": old})
    problem = one(judged("azure", "13.0", a=request(AZURE_A100)), 43, "a", "nodeImage")
    assert problem.severity == "warning"
    assert "570.26 (looked up on 2026-" in problem.message


def test_an_engine_newer_than_the_vgpu_driver_of_a_machine_is_refused() -> None:
    problem = one(judged("azure", "13.0", a=request(AZURE_A10)), 43, "a", "machine")
    assert problem.severity == "error"
    assert "570.237 (looked up on 2026-" in problem.message
    assert "580.65.06" in problem.allowed
    assert judged("azure", "12.9", a=request(AZURE_A10)) == []


def test_a_driver_nobody_looked_up_is_not_judged() -> None:
    assert judged("gcp", "13.0", a=request(machine("gcp", "a2-ultragpu-8g"))) == []


def test_a_card_that_cannot_be_cut_is_not_offered_mig() -> None:
    problems = judged("aws", a=request(A10G, sharing=Sharing("mig", profile="1g.5gb"), least=1))
    problem = one(problems, 222, "a", "sharing", "mig")
    assert "A100-80GB" in problem.allowed
    assert "A10G" in problem.message


def test_a_profile_of_another_card_gets_the_cards_own() -> None:
    problems = judged("aws", a=request(H100, sharing=Sharing("mig", profile="1g.5gb"), least=1))
    assert one(problems, 223, "a", "sharing", "mig", "profile").allowed.startswith("1g.10gb, 1g.20gb")
    one(judged("aws", a=request(H100, sharing=Sharing("mig"), least=1)), 223, "a", "sharing", "mig", "profile")


def test_two_mig_strategies_are_one_too_many() -> None:
    single, mixed = Sharing("mig", profile="1g.10gb"), Sharing("mig", strategy="mixed", profile="1g.10gb")
    problems = judged("aws", a=request(A100, sharing=single, least=1), b=request(A100, sharing=mixed, least=1))
    one(problems, 224, "b", "sharing", "mig", "strategy")


def test_instances_under_their_own_names_never_come_from_zero() -> None:
    mixed = Sharing("mig", strategy="mixed", profile="1g.10gb")
    one(judged("aws", a=request(A100, sharing=mixed)), 225, "a", "sharing", "mig", "strategy")
    assert judged("aws", a=request(A100, sharing=mixed, least=1)) == []
    assert judged("existing", a=request(None, sharing=mixed)) == []


def test_a_place_that_cuts_all_cards_alike_has_no_mixed_strategy() -> None:
    mixed = Sharing("mig", strategy="mixed", profile="1g.10gb")
    one(
        judged("gcp", a=request(machine("gcp", "a2-ultragpu-8g"), sharing=mixed)),
        227,
        "a",
        "sharing",
        "mig",
        "strategy",
    )


def test_cards_that_are_cut_after_the_node_has_come_are_warned_of() -> None:
    cut = Sharing("mig", profile="1g.10gb")
    problem = one(judged("aws", a=request(A100, sharing=cut)), 228, "a", "sharing", "mig")
    assert problem.severity == "warning"
    assert judged("aws", a=request(A100, "bottlerocket-nvidia", sharing=cut)) == []
    assert judged("azure", a=request(AZURE_A100, sharing=cut)) == []


def test_taking_turns_takes_at_least_two() -> None:
    for replicas in (0, 1, 49):
        problems = judged("aws", a=request(A10G, sharing=Sharing("timeSlicing", replicas=replicas)))
        assert one(problems, 226, "a", "sharing", "timeSlicing", "replicas").value == replicas
    assert judged("aws", a=request(A10G, sharing=Sharing("timeSlicing", replicas=2))) == []


def test_all_findings_come_together() -> None:
    bad = request(A10G, sharing=Sharing("mig", profile="1g.5gb"), least=1)
    problems = judged(
        "aws", a=bad, b=request(A10G, "ubuntu"), c=request(A10G, sharing=Sharing("timeSlicing", replicas=1))
    )
    assert sorted(int(p.code[3:]) for p in problems) == [220, 222, 226]


def test_pretended_gpus_and_places_without_a_table_are_left_alone() -> None:
    lab = request(None, "debian-12")
    assert judged("local", a=lab) == []
    assert judged("existing", a=replace(lab, pool=replace(lab.pool, device="cpu"))) == []
