"""Names, addresses and access on Azure: pure, so that a plan can say them."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys

import pytest
import yaml

from components.gpu_layer import node_images as layer
from components.platforms.azure import names
from components.platforms.azure.address_plan import POD_RANGE, SERVICE_RANGE, address_plan, overlaps
from components.platforms.azure.kubeconfig import kubeconfig
from components.platforms.azure.rights import refusal
from components.platforms.azure.tables import node_images, roles
from components.platforms.contract import About

STACKS = ("ebbtide-azure-prod", "7", "Ein-sehr_langer.Name-" * 8)
ONE, TWO = "11111111-2222-3333-4444-555555555555", "00000000-0000-0000-0000-000000000002"


@pytest.mark.parametrize("stack", STACKS)
def test_names_keep_within_azures_rules(stack: str) -> None:
    assert re.fullmatch(r"[a-z0-9]{3,24}", names.storage_account(stack, ONE))
    assert re.fullmatch(r"[a-z0-9]{5,50}", names.registry(stack, ONE))
    assert re.fullmatch(r"[a-z](-?[a-z0-9])*", names.vault_prefix(stack))
    assert len(names.vault_prefix(stack)) + 7 <= 24
    assert re.fullmatch(r"[a-z][a-z0-9]{0,11}", names.node_pool(stack))
    about = About(stack, "prod")
    assert len(names.resource_group(about)) <= 90
    assert len(names.cluster(about)) <= 63


def test_two_stacks_and_two_subscriptions_never_share_a_name_of_the_whole_world() -> None:
    names_made = {
        names.storage_account(stack, where)
        for stack in ("ebbtide-azure-dev", "ebbtide-azuredev")
        for where in (ONE, TWO)
    }
    assert len(names_made) == 4
    assert names.storage_account("ebbtide-azure-dev", ONE) == names.storage_account("ebbtide-azure-dev", ONE)


def test_long_pool_names_that_begin_alike_stay_two_pools() -> None:
    assert names.node_pool("gpu-8xa100-production-one") != names.node_pool("gpu-8xa100-production-two")
    assert names.node_pool("gpu-1xa10") == "gpu1xa10"


def test_nodes_get_the_first_quarter_and_the_clusters_ranges_stay_clear() -> None:
    assert address_plan("10.40.0.0/16").nodes == "10.40.0.0/18"
    assert overlaps("10.40.0.0/16") is None
    assert overlaps("10.244.128.0/20") == POD_RANGE
    assert overlaps("10.245.0.0/24") == SERVICE_RANGE


def test_only_the_wrong_account_is_refused_and_it_is_named() -> None:
    assert refusal(ONE, TWO, ONE.upper(), TWO) is None
    assert refusal(ONE, TWO, None, None) is None
    message = refusal(ONE, TWO, TWO, TWO)
    assert message is not None
    assert f"subscription {TWO}" in message
    assert f"az account set --subscription {ONE}" in message


def encoded(document: object) -> str:
    return base64.b64encode(yaml.safe_dump(document).encode()).decode()


def test_the_kubeconfig_keeps_the_clusters_address_and_none_of_its_users() -> None:
    cluster = {"server": "https://aks", "certificate-authority-data": "Q0E=", "proxy-url": "http://unasked"}
    document = {"clusters": [{"cluster": cluster}], "users": [{"user": {"client-key-data": "a-key"}}]}
    config = json.loads(kubeconfig(encoded(document), "c", ONE))
    assert "a-key" not in json.dumps(config)
    assert "proxy-url" not in json.dumps(config)
    exec_ = config["users"][0]["user"]["exec"]
    assert exec_["args"][:3] == ["get-token", "--login", "azurecli"]
    assert config["current-context"] == config["contexts"][0]["name"]


@pytest.mark.parametrize(
    "document", [{}, {"clusters": []}, {"clusters": [{"cluster": {"server": "https://aks"}}]}, "text"]
)
def test_a_kubeconfig_without_an_authority_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="cluster c: AKS gave"):
        kubeconfig(encoded(document), "c", ONE)


def test_the_node_images_are_those_of_the_gpu_layer_and_agree_on_the_driver() -> None:
    own = node_images()
    assert tuple(own.images) == layer.images_of("azure")
    assert own.default == layer.default_image("azure")
    for key, image in own.images.items():
        assert (image.driver == "Install") == (layer.node_images()[key].driver == "place"), key


def test_a_role_is_an_id_of_azures() -> None:
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", role) for role in roles().values())
    assert len(set(roles().values())) == len(roles())


def test_reading_a_stack_file_of_azure_loads_no_cloud_sdk() -> None:
    program = (
        "import sys\n"
        "import components.platforms.azure.settings, components.platforms.azure.judge\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('pulumi_azure_native', 'pulumi_aws', 'pulumi_gcp')])\n"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
