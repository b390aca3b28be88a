"""The tables beside the machines: GPU products, drivers for CUDA, the versions of the GPU layer."""

from __future__ import annotations

import pytest

from components.catalog.cuda import least_driver, runs_on
from components.catalog.gpus import gpus, near_gpu
from components.catalog.versions import pinned


def test_no_cut_gives_more_memory_than_the_card_has() -> None:
    for name, gpu in gpus().items():
        for profile, instances in (gpu.mig or {}).items():
            slices, memory = profile.removesuffix("gb").split("g.")
            assert int(memory) * instances <= gpu.memory_gib * 1.05, (name, profile)
            assert int(slices) * instances <= 7, (name, profile)


def test_every_card_that_can_be_cut_can_be_had_as_one_whole_instance() -> None:
    for name, gpu in gpus().items():
        if gpu.mig:
            assert 1 in gpu.mig.values(), name


@pytest.mark.parametrize("name", ["T4", "A10", "A10G", "L4", "L40S"])
def test_a_card_without_mig_says_so(name: str) -> None:
    assert not gpus()[name].can_be_cut


def test_a_card_whose_profiles_are_unknown_is_not_taken_for_one_that_cannot_be_cut() -> None:
    assert gpus()["RTX-PRO-4500"].mig is None
    assert gpus()["RTX-PRO-4500"].can_be_cut


def test_a_misspelled_product_gets_the_one_that_was_meant() -> None:
    assert near_gpu("a10g") == "A10G"
    assert near_gpu("A100-80") == "A100-80GB"
    assert near_gpu("banana") is None


@pytest.mark.parametrize(
    ("cuda", "driver", "runs"),
    [
        ("13.0", "580.65.06", True),
        ("13.0", "580.159.03", True),
        ("13.2", "580.65.06", True),  # by minor version compatibility
        ("13.0", "570.237", False),
        ("13.0", "579.999.99", False),
        ("12.9", "570.237", True),
        ("12.9", "525.60.12", False),
        ("11.8", "450.80.02", True),
        ("14.0", "999.0", None),
    ],
)
def test_an_image_is_judged_by_the_oldest_driver_its_cuda_runs_on(cuda: str, driver: str, runs: bool | None) -> None:
    assert runs_on(cuda, driver) is runs


def test_versions_are_compared_as_numbers_and_not_as_text() -> None:
    assert runs_on("12.0", "1000.1") is True
    assert runs_on("13.0", "99.99.99") is False


def test_something_that_is_no_version_is_refused() -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        least_driver("latest")


def test_the_gpu_operator_is_newer_than_the_security_floor() -> None:
    version = pinned("gpu-operator")
    assert tuple(int(part) for part in version.version.removeprefix("v").split(".")) > (25, 3, 0)
    assert version.digest


def test_the_engines_image_says_for_which_cuda_it_was_built() -> None:
    cuda = pinned("vllm").cuda
    assert cuda is not None
    assert least_driver(cuda) == "580.65.06"
