"""What the GPU operator is told for each node image and way of sharing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.catalog.versions import pinned
from components.gpu_layer.node_images import default_image, images_of, near_image, node_images, resolve_image
from components.gpu_layer.sharing import config_key, node_labels, shared_resource
from components.gpu_layer.values import WHOLE, GpuPool, config_name, operator_values, time_slicing_data
from components.platforms.contract import Sharing, Taint
from scripts.chart_values import records, used_paths, wrong_values

IMAGES = node_images()
SLICED = Sharing("timeSlicing", replicas=4)
CUT = Sharing("mig", profile="1g.10gb")
MIXED = Sharing("mig", strategy="mixed", profile="3g.40gb")
CHART = records()["gpu-operator"]


def pool(image: str, sharing: Sharing | None = None, name: str = "p", *taints: Taint) -> GpuPool:
    return GpuPool(name, IMAGES[image], sharing, taints)


def values(*pools: GpuPool) -> dict[str, Any]:
    return operator_values(pools)


@pytest.mark.parametrize(
    ("key", "driver", "toolkit", "plugin"),
    [
        ("al2023-nvidia", False, False, True),
        ("aks-ubuntu", False, False, True),
        ("aks-ubuntu-no-driver", True, True, True),
        ("ubuntu-22.04", True, True, True),
        ("ubuntu-24.04", True, True, True),
        ("host-driver", False, False, True),
        ("microk8s", True, True, True),
    ],
)
def test_the_operator_installs_what_the_node_image_lacks_and_nothing_it_has(
    key: str, driver: bool, toolkit: bool, plugin: bool
) -> None:
    chart_values = values(pool(key))
    assert chart_values["driver"]["enabled"] is driver
    assert chart_values["toolkit"]["enabled"] is toolkit
    assert chart_values["devicePlugin"]["enabled"] is plugin
    assert chart_values["dcgmExporter"]["enabled"] is True


@pytest.mark.parametrize("sharing", [None, SLICED, CUT, MIXED], ids=str)
@pytest.mark.parametrize("key", [key for key, image in IMAGES.items() if image.operator])
def test_no_value_is_set_that_the_chart_does_not_take(key: str, sharing: Sharing | None) -> None:
    assert CHART.version == pinned("gpu-operator").version
    chart_values = values(pool(key, sharing))
    assert len(used_paths(CHART, chart_values)) > 10
    assert wrong_values(CHART, chart_values) == []


@pytest.mark.parametrize("key", [key for key, image in IMAGES.items() if not image.operator])
def test_where_no_operator_is_installed_nothing_is_left_to_it(key: str) -> None:
    image = IMAGES[key]
    assert "operator" not in {image.driver, image.toolkit, image.device_plugin, image.mig, image.time_slicing}
    assert image.values == {}


def test_nothing_restarts_containerd_on_a_node_whose_place_brings_driver_and_device_plugin() -> None:
    brought = {key for key, image in IMAGES.items() if (image.driver, image.device_plugin) == ("place", "place")}
    assert brought == {"gke-cos", "gke-ubuntu"}
    assert not any(IMAGES[key].operator for key in brought)


def test_aks_is_told_the_runtime_class_its_nodes_have() -> None:
    assert values(pool("aks-ubuntu"))["operator"]["runtimeClass"] == "nvidia-container-runtime"
    assert "operator" not in values(pool("al2023-nvidia"))


def test_every_operand_reaches_every_tainted_node_and_tolerates_nothing_else() -> None:
    mine, spot = Taint("workerType", "gpu_1xa10"), Taint("kubernetes.azure.com/scalesetpriority", "spot")
    chart_values = values(pool("aks-ubuntu", None, "a", mine, spot), pool("aks-ubuntu", None, "b", mine))
    operands = chart_values["daemonsets"]["tolerations"]
    assert operands[0] == {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert sorted(operands[1:], key=str) == sorted([mine.toleration(), spot.toleration()], key=str)
    worker = chart_values["node-feature-discovery"]["worker"]["tolerations"]
    assert [t for t in operands if t not in worker] == []
    assert all(t.get("key") for t in [*operands, *worker]), "a toleration of everything would reach any node"


def test_only_daemonsets_tolerate_a_gpu_nodes_taint() -> None:
    """A Deployment of the layer on a GPU node would hold it up for ever."""
    chart_values = values(pool("al2023-nvidia", None, "a", Taint("workerType", "gpu_1xa10")))
    assert "tolerations" not in chart_values.get("operator", {})
    assert set(chart_values["node-feature-discovery"]) == {"worker"}


def test_the_mig_manager_stays_away_where_the_place_cuts_the_cards() -> None:
    """Its own default undoes what the place has cut."""
    assert values(pool("aks-ubuntu", CUT))["migManager"]["enabled"] is False
    assert values(pool("aks-ubuntu", MIXED))["mig"]["strategy"] == "mixed"
    assert values(pool("gke-cos", CUT))["migManager"]["enabled"] is False


def test_the_mig_manager_cuts_and_may_reboot_where_the_operator_does_it() -> None:
    chart_values = values(pool("al2023-nvidia", CUT))
    assert chart_values["migManager"] == {"enabled": True, "env": [{"name": "WITH_REBOOT", "value": "true"}]}
    assert chart_values["mig"]["strategy"] == "single"
    assert "env" not in values(pool("ubuntu-22.04", CUT))["migManager"]


def test_pools_with_and_without_time_slicing_live_under_one_operator() -> None:
    pools = (
        pool("al2023-nvidia", SLICED),
        pool("al2023-nvidia", Sharing("timeSlicing", replicas=2), "q"),
        pool("al2023-nvidia"),
    )
    data = time_slicing_data(pools)
    assert set(data) == {WHOLE, "time-slicing-2", "time-slicing-4"}
    assert "sharing" not in json.loads(data[WHOLE])
    assert json.loads(data["time-slicing-4"])["sharing"]["timeSlicing"]["resources"] == [
        {"name": "nvidia.com/gpu", "replicas": 4}
    ]
    assert values(*pools)["devicePlugin"]["config"] == {"name": config_name(data), "default": WHOLE}


def test_without_time_slicing_the_device_plugin_gets_no_config() -> None:
    assert "config" not in values(pool("al2023-nvidia"))["devicePlugin"]
    assert time_slicing_data([pool("gke-cos", SLICED)]) == {}


def test_other_slices_are_another_config_map() -> None:
    """The operator does not look into a map it has read: only another name restarts the device plugin."""
    four, two = (time_slicing_data([pool("al2023-nvidia", Sharing("timeSlicing", replicas=n))]) for n in (4, 2))
    assert config_name(four) != config_name(two)


def test_shares_keep_the_name_by_which_an_autoscaler_knows_a_gpu() -> None:
    data = time_slicing_data([pool("al2023-nvidia", SLICED)])
    assert json.loads(data["time-slicing-4"])["sharing"]["timeSlicing"]["renameByDefault"] is False


@pytest.mark.parametrize(
    ("product", "count", "sharing", "resource", "each"),
    [
        ("A10G", 1, None, "nvidia.com/gpu", 1),
        ("A10G", 1, SLICED, "nvidia.com/gpu", 4),
        (None, 8, SLICED, "nvidia.com/gpu", 32),
        ("A100-80GB", 8, CUT, "nvidia.com/gpu", 56),
        ("A100-40GB", 8, CUT, "nvidia.com/gpu", 32),  # the same profile is a larger part of the smaller card
        ("H100", 8, MIXED, "nvidia.com/mig-3g.40gb", 16),
        ("H200", 8, Sharing("mig", profile="7g.141gb"), "nvidia.com/gpu", 8),
    ],
)
def test_a_pod_asks_for_what_the_shared_node_has(
    product: str | None, count: int, sharing: Sharing | None, resource: str, each: int
) -> None:
    assert shared_resource("nvidia.com/gpu", count, product, sharing) == (resource, each)


def test_a_cut_that_the_card_cannot_have_is_refused_with_those_it_can() -> None:
    with pytest.raises(ValueError, match=r"1g\.10gb, 1g\.20gb"):
        shared_resource("nvidia.com/gpu", 8, "H100", Sharing("mig", profile="1g.5gb"))
    with pytest.raises(ValueError, match="A10G has no MIG"):
        shared_resource("nvidia.com/gpu", 1, "A10G", CUT)


def test_nodes_are_labelled_where_the_operator_shares_and_not_where_the_place_does() -> None:
    assert node_labels(CUT, IMAGES["al2023-nvidia"]) == {"nvidia.com/mig.config": "all-1g.10gb"}
    assert node_labels(SLICED, IMAGES["aks-ubuntu"]) == {"nvidia.com/device-plugin.config": config_key(SLICED)}
    assert node_labels(CUT, IMAGES["aks-ubuntu"]) == {}
    assert node_labels(SLICED, IMAGES["gke-cos"]) == {}
    assert node_labels(None, IMAGES["al2023-nvidia"]) == {}


def test_a_nodes_label_names_an_entry_of_the_config_map() -> None:
    data = time_slicing_data([pool("al2023-nvidia", SLICED)])
    assert node_labels(SLICED, IMAGES["al2023-nvidia"])["nvidia.com/device-plugin.config"] in data


def test_images_that_do_not_go_together_are_never_given_one_value() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        values(pool("aks-ubuntu"), pool("aks-ubuntu-no-driver"))
    with pytest.raises(ValueError, match="no pool"):
        values()


@pytest.mark.parametrize("place", ["aws", "azure", "gcp", "existing"])
def test_a_pool_that_says_nothing_gets_its_places_own_image(place: str) -> None:
    assert len([i for i in node_images().values() if i.place == place and i.default]) == 1
    assert resolve_image(place, "unknown") == node_images()[default_image(place) or ""]
    assert images_of(place)[0] == default_image(place)


def test_an_image_of_another_place_is_not_this_places() -> None:
    assert resolve_image("aws", "gke-cos") is None
    assert near_image("aws", "bottlerocket") == "bottlerocket-nvidia"
    assert resolve_image("local", "debian-12") is None


def test_every_row_says_where_it_is_from() -> None:
    for image in node_images().values():
        assert len(image.source) > 20, image.key
