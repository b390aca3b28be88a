"""The machine catalogue: the seeds' machines, their prices, and what it may say about regions and names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.catalog import machines as module
from components.catalog.gpus import gpus
from components.catalog.machines import find, machines, near

PLACES = ("aws", "azure", "gcp")
SEEDS = [
    # place, machine, GPU, GPUs, GiB of one, a region, dollars an hour as the design's own list of prices has it
    ("aws", "g5.8xlarge", "A10G", 1, 22.35, "us-east-1", 2.448),
    ("aws", "g6e.4xlarge", "L40S", 1, 44.7, "us-east-1", 3.00424),
    ("aws", "p4d.24xlarge", "A100-40GB", 8, 40, "us-east-1", 21.957642),
    ("aws", "p5.48xlarge", "H100", 8, 80, "us-east-1", 55.04),
    ("azure", "Standard_NV36ads_A10_v5", "A10", 1, 24, "eastus", 3.20),
    ("azure", "Standard_ND96amsr_A100_v4", "A100-80GB", 8, 80, "eastus", 32.77),
    ("gcp", "g2-standard-16", "L4", 1, 22.35, "us-central1", 1.1472),
    ("gcp", "a2-ultragpu-8g", "A100-80GB", 8, 80, "us-central1", 40.55),
]
FAMILIES = {
    "aws": ("g4dn", "g5", "g6", "g6e", "p4d", "p4de", "p5", "p5en", "p6-b200"),
    "azure": ("as_T4_v3", "ads_A100_v4", "ads_A10_v5", "_H100_v5", "isr_H200_v5", "asr_v4"),
    "gcp": (
        "n1-standard",
        "g2-standard",
        "a2-highgpu",
        "a2-ultragpu",
        "a3-highgpu",
        "a3-megagpu",
        "a3-ultragpu",
        "g4-",
    ),
}


@pytest.mark.parametrize(("place", "name", "gpu", "count", "gib", "region", "price"), SEEDS)
def test_a_machine_the_seeds_name_is_there_at_the_price_they_were_given(
    place: str, name: str, gpu: str, count: int, gib: float, region: str, price: float
) -> None:
    machine = find(place, name)
    assert machine is not None
    assert (machine.place, machine.gpu, machine.gpus, machine.gpu_memory_gib) == (place, gpu, count, gib)
    assert machine.prices[region].on_demand == pytest.approx(price, rel=1e-3)


@pytest.mark.parametrize("place", PLACES)
def test_the_common_gpu_families_of_each_cloud_can_be_chosen(place: str) -> None:
    for family in FAMILIES[place]:
        assert [name for name in machines(place) if family in name], family


@pytest.mark.parametrize("place", PLACES)
def test_no_price_or_capacity_is_there_without_its_source_and_day(place: str) -> None:
    for machine in machines(place).values():
        assert machine.gpu in gpus()
        assert float(machine.compute_capability) >= 7.0, "below what the engine runs on"
        for price in machine.prices.values():
            assert price.source
            assert price.read_on.startswith("2026-")


@pytest.mark.parametrize("place", PLACES)
def test_what_could_not_be_looked_up_is_empty_and_says_why(place: str) -> None:
    file = yaml.safe_load((Path(module.__file__).with_name("machines") / f"{place}.yaml").read_text())
    for name, row in file["machines"].items():
        if not row["onDemand"]:
            assert row["priceReason"], name
        if not row.get("spot"):
            assert file.get("spotReason") or not row["onDemand"] or row.get("priceReason"), name


@pytest.mark.parametrize("place", PLACES)
def test_a_bigger_machine_of_the_same_family_never_costs_less_than_its_gpus_do(place: str) -> None:
    """A slipped digit in a price shows against its neighbours."""
    by_gpu: dict[tuple[str, str], list[float]] = {}
    for machine in machines(place).values():
        for region, price in machine.prices.items():
            if price.on_demand is not None:
                by_gpu.setdefault((machine.gpu, region), []).append(price.on_demand / machine.gpus)
    for key, each in by_gpu.items():
        assert max(each) / min(each) < 10, key


def test_a_spot_machine_is_not_dearer_than_the_same_one_on_demand() -> None:
    for machine in machines("gcp").values():
        for region, price in machine.prices.items():
            if price.spot is not None and price.on_demand is not None:
                assert price.spot < price.on_demand, (machine.name, region)


@pytest.mark.parametrize(
    ("place", "wrong", "right"),
    [
        ("aws", "g5.8xlrage", "g5.8xlarge"),
        ("aws", "P5.48XLARGE", "p5.48xlarge"),
        ("azure", "NV36ads_A10_v5", "Standard_NV36ads_A10_v5"),
        ("gcp", "g2-standrd-16", "g2-standard-16"),
    ],
)
def test_a_misspelled_machine_gets_the_one_that_was_meant(place: str, wrong: str, right: str) -> None:
    assert find(place, wrong) is None
    assert near(place, wrong) == right


def test_a_name_like_nothing_gets_no_suggestion() -> None:
    assert near("aws", "toaster") is None


def test_a_place_without_machines_of_its_own_has_none() -> None:
    assert machines("existing") == {}
    assert find("existing", "g5.8xlarge") is None


def test_a_machine_is_sold_where_it_has_a_price() -> None:
    assert "us-central1" in machines("gcp")["g2-standard-16"].regions
    assert "eastus" in machines("azure")["Standard_NV36ads_A10_v5"].regions
    assert "us-central1" not in machines("gcp")["a3-megagpu-8g"].regions


def test_regions_that_nobody_looked_up_are_unknown_and_not_none() -> None:
    """One region's price list says nothing of the others: refusing the rest would be a guess."""
    assert machines("gcp")["a3-ultragpu-8g"].regions == ()
    assert machines("aws")["p5e.48xlarge"].regions == ()


def test_only_azures_a10_comes_through_vgpu() -> None:
    vgpu = {machine.name for place in PLACES for machine in machines(place).values() if machine.vgpu}
    assert vgpu == {name for name in machines("azure") if "_A10_v5" in name}


@pytest.mark.parametrize(("name", "gib"), [("NV6ads", 4), ("NV12ads", 8), ("NV18ads", 12)])
def test_a_part_of_a_card_has_its_own_memory_and_no_more_of_it_than_was_seen(name: str, gib: float) -> None:
    machine = machines("azure")[f"Standard_{name}_A10_v5"]
    assert (machine.part, machine.vgpu, machine.gpu_memory_gib) == (True, True, gib)
    # of 4 GiB PyTorch saw 3.83
    assert 0.9 * gib < machine.cuda_memory_gib <= gib * 3.83 / 4
    assert not machines("azure")["Standard_NV36ads_A10_v5"].part


def write(folder: Path, text: str) -> Path:
    (folder / "x.yaml").write_text(text)
    return folder


HEAD = "readOn: 2026-11-21\nsource: a page\nregionsComplete: true\nmachines:\n"


def test_a_machine_with_a_gpu_nobody_knows_is_refused_by_name(tmp_path: Path) -> None:
    row = (
        "  m: {gpu: A1000, gpus: 1, vcpus: 4, memoryGib: 16, localDiskGib: 0, interconnect: none, onDemand: {r: 1.0}}\n"
    )
    with pytest.raises(ValueError, match=r"x\.yaml: machines\.m\.gpu: 'A1000'"):
        machines("x", write(tmp_path, HEAD + row))


def test_a_misspelled_field_of_a_machine_is_refused(tmp_path: Path) -> None:
    row = "  m: {gpu: L4, gpu_s: 1, vcpus: 4, memoryGib: 16, localDiskGib: 0, interconnect: none, onDemand: {}}\n"
    with pytest.raises(ValueError, match="gpu_s"):
        machines("x", write(tmp_path, HEAD + row))


def test_a_price_list_of_one_region_does_not_say_where_else_a_machine_is_sold(tmp_path: Path) -> None:
    row = (
        "  m: {gpu: L4, gpus: 1, vcpus: 4, memoryGib: 16, localDiskGib: 0, interconnect: none, onDemand: {us-1: 1.0}}\n"
    )
    partial = machines("x", write(tmp_path, HEAD.replace("true", "false") + row))
    assert partial["m"].regions == ()
    assert partial["m"].prices["us-1"].on_demand == 1.0


def test_a_local_disk_of_aws_is_in_gib_and_not_in_the_gb_that_ec2_tells() -> None:
    # the autoscaler plans an empty group's node with it: told too much, it brings nodes that the pod does not fit
    sold = {name: machine.local_disk_gib for name, machine in machines("aws").items()}
    assert sold["g5.8xlarge"] == 838  # 900 GB
    assert sold["p4d.24xlarge"] == 7450  # 8 × 1000 GB
