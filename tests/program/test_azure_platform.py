"""What Azure would be asked for, recorded as it goes over the wire."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
import yaml
from google.protobuf import json_format
from pulumi.runtime import mocks

from components.catalog.machine import Machine
from components.platforms.azure.cluster_spec import autoscaler_profile
from components.platforms.azure.ingress import controller_values
from components.platforms.azure.patience import drain_minutes, patience_seconds
from components.platforms.azure.settings import AzureSettings
from components.platforms.contract import About, Disk, Platform, Pool, PoolRequest, Sharing, Taint
from tests.machines import NV36ADS
from tests.program.wire_types import checkable, wrong_inputs

pytest.importorskip("pulumi_azure_native")

SUBSCRIPTION, TENANT = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
GROUP = "77777777-8888-9999-aaaa-bbbbbbbbbbbb"
OTHER = "00000000-0000-0000-0000-000000000001"
OWN = Taint("workerType", "gpu_1xa10")
VAULT = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/certs/providers/Microsoft.KeyVault/vaults/certs"
SUBNET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/net/subnets/aks"
SETTINGS: Mapping[str, Any] = {
    "kind": "azure",
    "subscription": SUBSCRIPTION,
    "tenant": TENANT,
    "region": "westeurope",
    "cluster": {"version": "1.34", "adminGroups": [GROUP]},
    "network": {"cidr": "10.40.0.0/16", "zones": ["1", "2"]},
    "ingress": {"host": "llm.example.com", "certificate": f"{VAULT}/certificates/llm"},
}
A100 = Machine(
    name="Standard_ND96amsr_A100_v4",
    place="azure",
    gpu="A100-80GB",
    gpus=8,
    gpu_memory_gib=80,
    compute_capability="8.0",
    vcpus=96,
    memory_gib=1900,
    interconnect="nvlink",
    local_disk_gib=2900,
)
CA = "Q0E="
GIVEN = base64.b64encode(
    yaml.safe_dump(
        {
            "clusters": [{"cluster": {"server": "https://aks.example", "certificate-authority-data": CA}}],
            "users": [{"user": {"token": "a-token-that-must-not-be-kept"}}],
        }
    ).encode()
).decode()
THERE: Mapping[str, Any] = {
    "agentPoolProfiles": [{"name": "theirs", "vnetSubnetID": SUBNET}],
    "oidcIssuerProfile": {"enabled": True, "issuerURL": "https://issuer.theirs"},
    "identityProfile": {"kubeletidentity": {"objectId": "their-kubelet"}},
}


def request(name: str = "gpu-1xa10", machine: Machine = NV36ADS, most: int = 2, **changes: Any) -> PoolRequest:
    pool = Pool(name, {"workerType": "gpu_1xa10"}, (OWN,), machine.gpus, max_nodes=most)
    image = changes.pop("node_image", "unknown")
    return PoolRequest(**{"pool": dataclasses.replace(pool, node_image=image), "machine": machine, **changes})


class _Cloud(mocks.Mocks):
    """Answers as Azure's API would, as far as the program reads it; ``account`` is who is signed in."""

    def __init__(self, account: tuple[str, str] = (SUBSCRIPTION, TENANT)) -> None:
        self.account = account

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        subscription, tenant = self.account
        known: dict[str, Mapping[str, Any]] = {
            "getClientConfig": {"subscriptionId": subscription, "tenantId": tenant, "clientId": "c", "objectId": "o"},
            "listManagedClusterUserCredentials": {"kubeconfigs": [{"name": "clusterUser", "value": GIVEN}]},
            "getManagedCluster": THERE,
        }
        return dict(known[args.token.rpartition(":")[2]])

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = {"name": args.name, **args.inputs}
        kind = args.typ.rpartition(":")[2]
        if kind == "UserAssignedIdentity":
            outputs |= {"principalId": f"{args.name}-principal", "clientId": f"{args.name}-client"}
        if kind == "ManagedCluster":
            outputs |= {"oidcIssuerProfile": {"enabled": True, "issuerURL": "https://issuer.made"}}
        if kind == "Registry":
            outputs |= {"loginServer": f"{args.inputs['registryName']}.azurecr.io"}
        if kind == "PublicIPAddress":
            outputs |= {"ipAddress": "203.0.113.7"}
        if kind == "Vault":
            outputs |= {"properties": {**args.inputs["properties"], "vaultUri": "https://vault.example/"}}
        if kind == "Key":
            outputs |= {"keyUriWithVersion": f"https://vault.example/keys/{args.inputs['keyName']}/1"}
        if kind == "RandomId":
            outputs |= {"hex": "abc123"}
        if "userAssignedIdentities" in (outputs.get("identity") or {}):
            # asked for as a list of ids, told as a mapping by id
            outputs["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {}}
        for name in ("resourceGroupName", "resourceName", "vaultName", "accountName", "keyName"):
            if name in args.inputs and kind in _NAMED.get(name, ()):
                outputs["name"] = args.inputs[name]
        return f"{args.name}-id", outputs


_NAMED = {
    "resourceGroupName": ("ResourceGroup",),
    "resourceName": ("ManagedCluster", "UserAssignedIdentity"),
    "vaultName": ("Vault",),
    "accountName": ("StorageAccount",),
    "keyName": ("Key",),
}


class _Recorder(mocks.MockMonitor):
    def __init__(self, cloud: _Cloud) -> None:
        super().__init__(cloud)
        self.requests: list[Any] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the SDK's name
        self.requests.append(request)
        return super().RegisterResource(request)


SECRET = "4dabf18193072939" + "515e22adb298388d"


def plain(value: Any, hidden: str | None = None) -> Any:
    """Inputs without the marks of secrets and outputs, whole numbers whole. ``hidden`` stands for a secret."""
    if isinstance(value, dict):
        if value.get(SECRET) == "1b47061264138c4ac30d75fd1eb44270" and hidden is not None:
            return hidden
        return plain(value["value"], hidden) if SECRET in value else {k: plain(v, hidden) for k, v in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [plain(child, hidden) for child in value] if isinstance(value, list) else value


@dataclasses.dataclass
class Resources:
    """The place, and every registration it made."""

    platform: Platform
    requests: list[Any]

    def all(self, kind: str) -> list[Any]:
        return [one for one in self.requests if one.type.endswith(f":{kind}")]

    def one(self, kind: str, name: str | None = None) -> Any:
        (match,) = [one for one in self.all(kind) if name in (None, one.name)]
        return match

    def raw(self, kind: str, name: str | None = None) -> dict[str, Any]:
        return json_format.MessageToDict(self.one(kind, name).object)

    def inputs(self, kind: str, name: str | None = None) -> dict[str, Any]:
        return dict(plain(self.raw(kind, name)))

    def pool(self, name: str = "gpu-1xa10") -> dict[str, Any]:
        return self.inputs("AgentPool", name)

    def cluster(self) -> dict[str, Any]:
        return self.inputs("ManagedCluster")


LAST: list[Any] = []


def resources_of(*pools: PoolRequest, protect: bool = False, cloud: _Cloud | None = None, **changes: Any) -> Resources:
    from components.platforms.azure.platform import build

    loop = asyncio.new_event_loop()
    # a program that ends early leaves tasks that nobody waits for: Python prints 100,000 lines about them
    loop.set_exception_handler(lambda *_: None)
    asyncio.set_event_loop(loop)
    cloud = cloud or _Cloud()
    recorder = _Recorder(cloud)
    LAST.clear()
    mocks.set_mocks(cloud, project="ebbtide", stack="azure-dev", preview=False, monitor=recorder)
    settings = AzureSettings.model_validate({**SETTINGS, **changes})
    platforms: list[Platform] = []

    def program() -> None:
        about = About("ebbtide-azure-dev", "dev", protect=protect)
        platforms.append(build(settings, {p.pool.name: p for p in pools}, about))

    try:
        pulumi.runtime.test(program)()
    finally:
        LAST.extend(recorder.requests)
    return Resources(platforms[0], recorder.requests)


def value(output: pulumi.Input[Any]) -> Any:
    values: list[Any] = []
    pulumi.runtime.test(lambda: pulumi.Output.from_input(output).apply(values.append))()
    return values[0]


@pytest.fixture(scope="module")
def place() -> Resources:
    """The place as a stack would have it, with one pool."""
    return resources_of(request())


def test_every_input_is_one_that_the_sdk_declares_with_its_type() -> None:
    resources = resources_of(
        request(spot=True), request("gpu-8xa100", A100, zones=("1",), disk=Disk(512)), protect=True
    )
    wrong = [
        f"{one.type} {one.name}: {sentence}"
        for one in resources.requests
        if one.custom
        for sentence in wrong_inputs(one.type, plain(json_format.MessageToDict(one.object), "[secret]"))
    ]
    assert wrong == []
    azure = {one.type for one in resources.requests if one.custom and one.type.startswith("azure-native:")}
    assert len(azure) >= 18
    assert all(checkable(kind) for kind in azure)


@pytest.mark.parametrize(("account", "named"), [((OTHER, TENANT), OTHER), ((SUBSCRIPTION, OTHER), OTHER)])
def test_the_wrong_account_is_named_before_anything_is_made(account: tuple[str, str], named: str) -> None:
    with pytest.raises(Exception, match=f"{named}.*nothing was made"):
        resources_of(request(), cloud=_Cloud(account))
    kinds = [one.type for one in LAST if one.custom and one.type.startswith("azure-native:")]
    assert kinds == []


def test_every_resource_of_azure_goes_through_the_provider_bound_to_the_subscription(place: Resources) -> None:
    bound = place.inputs("azure-native")
    assert (bound["subscriptionId"], bound["tenantId"]) == (SUBSCRIPTION, TENANT)
    loose = [
        one.name for one in place.requests if one.type.startswith("azure-native:") and "::azure::" not in one.provider
    ]
    assert loose == []


def test_a_pool_starts_at_zero_and_leaves_its_count_to_the_autoscaler(place: Resources) -> None:
    pool = place.pool()
    assert (pool["mode"], pool["count"], pool["minCount"], pool["maxCount"]) == ("User", 0, 0, 2)
    assert pool["enableAutoScaling"] is True
    assert list(place.one("AgentPool").ignoreChanges) == ["count"]


def test_the_clusters_own_pool_leaves_its_count_to_the_autoscaler_too(place: Resources) -> None:
    assert list(place.one("ManagedCluster").ignoreChanges) == ["agentPoolProfiles[*].count"]
    (pool,) = place.cluster()["agentPoolProfiles"]
    assert (pool["mode"], pool["count"], pool["minCount"], pool["maxCount"]) == ("System", 2, 2, 4)


def test_a_pool_of_another_machine_takes_the_place_of_the_old_one_which_production_protects() -> None:
    one = resources_of(request(), protect=True).one("AgentPool")
    assert one.deleteBeforeReplace is True
    assert one.protect is True


def test_taints_are_spelled_as_aks_reads_them_and_labels_select(place: Resources) -> None:
    pool = place.pool()
    assert pool["nodeTaints"] == ["workerType=gpu_1xa10:NoSchedule"]
    assert pool["nodeLabels"]["workerType"] == "gpu_1xa10"
    assert pool["nodeLabels"]["accelerator"] == "nvidia"


def test_a_model_tolerates_what_aks_puts_on_spot_nodes_besides() -> None:
    resources = resources_of(request(spot=True))
    pool = resources.pool()
    assert (pool["scaleSetPriority"], pool["scaleSetEvictionPolicy"], pool["spotMaxPrice"]) == ("Spot", "Delete", -1)
    handed = resources.platform.pools["gpu-1xa10"]
    spelled = sorted(f"{t['key']}={t['value']}:{t['effect']}" for t in handed.tolerations())
    assert spelled == sorted(pool["nodeTaints"])
    assert "kubernetes.azure.com/scalesetpriority=spot:NoSchedule" in spelled


def test_a_spot_pool_says_nothing_of_surge_which_aks_refuses() -> None:
    assert "upgradeSettings" not in resources_of(request(spot=True)).pool()


def test_a_pool_on_demand_asks_for_no_spot_price(place: Resources) -> None:
    assert {"scaleSetPriority", "scaleSetEvictionPolicy", "spotMaxPrice"}.isdisjoint(place.pool())


def test_no_label_of_aks_own_prefix_is_asked_for() -> None:
    labels = resources_of(request(spot=True)).pool()["nodeLabels"]
    assert not [key for key in labels if key.startswith(("kubernetes.azure.com/", "kubernetes.io/"))]


def test_the_pool_handed_on_names_its_image(place: Resources) -> None:
    assert place.platform.pools["gpu-1xa10"].node_image == "aks-ubuntu"


@pytest.mark.parametrize(("image", "driver"), [("aks-ubuntu", "Install"), ("aks-ubuntu-no-driver", "None")])
def test_who_installs_the_driver_follows_from_the_node_image(image: str, driver: str) -> None:
    assert resources_of(request(node_image=image)).pool()["gpuProfile"] == {"driver": driver}


def test_cards_are_cut_by_aks_where_it_installs_the_driver_and_by_the_operator_elsewhere() -> None:
    mig = Sharing("mig", profile="1g.10gb")
    by_aks = resources_of(request(machine=A100, sharing=mig)).pool()
    assert by_aks["gpuInstanceProfile"] == "MIG1g"
    assert "nvidia.com/mig.config" not in by_aks["nodeLabels"]
    by_operator = resources_of(request(machine=A100, sharing=mig, node_image="aks-ubuntu-no-driver")).pool()
    assert "gpuInstanceProfile" not in by_operator
    assert by_operator["nodeLabels"]["nvidia.com/mig.config"] == "all-1g.10gb"


def test_images_are_pulled_to_the_machines_own_disk_or_to_one_as_fast(place: Resources) -> None:
    assert place.pool()["osDiskType"] == "Ephemeral"
    bare = dataclasses.replace(NV36ADS, local_disk_gib=0)
    managed = resources_of(request(machine=bare)).pool()
    assert (managed["osDiskType"], managed["osDiskSizeGB"]) == ("Managed", 1024)


def test_zones_and_a_reservation_reach_the_pool() -> None:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/r/providers/Microsoft.Compute/capacityReservationGroups/g"
    pool = resources_of(request(zones=("2",), reservation=group)).pool()
    assert pool["availabilityZones"] == ["2"]
    assert "availabilityZones" not in resources_of(request()).pool(), "few regions have a GPU machine in each zone"
    assert pool["capacityReservationGroupID"] == group


def test_an_upgrade_needs_no_node_more_than_the_pool_may_have(place: Resources) -> None:
    settings = place.pool()["upgradeSettings"]
    assert (settings["maxSurge"], settings["maxUnavailable"]) == ("0", "1")


def test_without_allowed_networks_the_api_has_no_public_address(place: Resources) -> None:
    access = place.cluster()["apiServerAccessProfile"]
    assert access["enablePrivateCluster"] is True
    assert access["enablePrivateClusterPublicFQDN"] is False
    assert access["disableRunCommand"] is True


def test_a_public_api_lets_in_the_networks_named_and_the_nodes() -> None:
    cluster = {**SETTINGS["cluster"], "apiAllowedNetworks": ["198.51.100.0/24"]}
    access = resources_of(cluster=cluster).cluster()["apiServerAccessProfile"]
    assert access["authorizedIPRanges"] == ["198.51.100.0/24", "203.0.113.7/32"]
    assert access["enablePrivateCluster"] is False


def test_nobody_gets_into_the_cluster_but_through_entra(place: Resources) -> None:
    cluster = place.cluster()
    assert cluster["disableLocalAccounts"] is True
    assert cluster["aadProfile"]["managed"] is True
    assert cluster["aadProfile"]["enableAzureRBAC"] is True
    assert cluster["aadProfile"]["adminGroupObjectIDs"] == [GROUP]


def test_secrets_in_etcd_are_encrypted_with_the_stacks_own_key_which_nobody_can_purge(place: Resources) -> None:
    kms = place.cluster()["securityProfile"]["azureKeyVaultKms"]
    assert kms == {"enabled": True, "keyId": "https://vault.example/keys/secrets/1", "keyVaultNetworkAccess": "Public"}
    vault = place.inputs("Vault")["properties"]
    assert vault["enablePurgeProtection"] is True
    assert vault["enableRbacAuthorization"] is True


def test_the_cluster_is_made_after_its_rights_on_key_and_subnet(place: Resources) -> None:
    after = set(place.one("ManagedCluster").dependencies)
    rights = {urn.rpartition("::")[2] for urn in after if "RoleAssignment" in urn}
    assert rights == {"cluster-uses-kubelet", "cluster-uses-subnet", "cluster-uses-key"}


def test_network_policies_hold_in_the_cluster(place: Resources) -> None:
    network = place.cluster()["networkProfile"]
    assert (network["networkDataplane"], network["networkPolicy"]) == ("cilium", "cilium")
    # a proxy on a link-local address would be shut out by the models' own policies
    for pool in (place.pool(), place.cluster()["agentPoolProfiles"][0]):
        assert pool["localDNSProfile"] == {"mode": "Disabled"}


def test_who_changed_what_is_kept(place: Resources) -> None:
    setting = place.inputs("DiagnosticSetting", "cluster-audit")
    assert "kube-audit-admin" in {log["category"] for log in setting["logs"] if log["enabled"]}


def test_the_autoscaler_waits_for_the_longest_stream(place: Resources) -> None:
    profile = place.cluster()["autoScalerProfile"]
    assert int(profile["maxGracefulTerminationSec"]) >= 3600
    assert profile["skipNodesWithLocalStorage"] == "false"


def test_a_gpu_node_goes_after_node_idle_in_the_only_unit_that_aks_knows(place: Resources) -> None:
    profile = place.cluster()["autoScalerProfile"]
    assert (profile["scaleDownUnneededTime"], profile["scaleDownDelayAfterAdd"]) == ("5m", "5m")
    assert autoscaler_profile(3 * 3600, ordered=False).scale_down_unneeded_time == "180m"


def test_the_autoscaler_tries_pools_in_the_models_order_by_the_names_of_their_scale_sets() -> None:
    asked = (
        request("gpu-od", preference=1),
        request("gpu-spot", spot=True, preference=2),
        request("gpu-od-2", preference=0),
    )
    resources = resources_of(*asked)
    assert resources.cluster()["autoScalerProfile"]["expander"] == "priority"
    (table,) = [resources.inputs("ConfigMap", one.name) for one in resources.all("ConfigMap")]
    assert table["metadata"] == {"name": "cluster-autoscaler-priority-expander", "namespace": "kube-system"}
    order = yaml.safe_load(table["data"]["priorities"])  # numbers in quotes would not be taken
    assert all(type(number) is int for number in order)

    def number(group: str) -> int:
        """As the priority expander gives it: the highest any of whose expressions is found in the name."""
        return max(n for n, names in order.items() if any(re.search(each, group) for each in names))

    sets = [f"aks-{name}-29141059-vmss" for name in ("gpuspot", "gpuod", "gpuod2", "system")]
    assert [number(each) for each in sets] == [3, 2, 1, 1]
    plain = resources_of(request())
    assert plain.cluster()["autoScalerProfile"]["expander"] == "least-waste"
    assert not plain.all("ConfigMap")


def test_the_autoscaler_of_an_adopted_cluster_is_left_to_its_owner() -> None:
    theirs = {"cluster": {"adopt": "theirs", "resourceGroup": "shared"}, "network": {"zones": ["1"]}}
    resources = resources_of(request("gpu-od", preference=1), request("gpu-spot", spot=True, preference=2), **theirs)
    assert not resources.all("ConfigMap")


def test_nodes_have_no_public_address_and_no_ssh(place: Resources) -> None:
    for pool in (place.pool(), place.cluster()["agentPoolProfiles"][0]):
        assert pool["enableNodePublicIP"] is False
        assert pool["securityProfile"] == {"sshAccess": "Disabled"}


def test_the_kubeconfig_holds_no_credential_and_is_a_secret(place: Resources) -> None:
    provider = place.raw("kubernetes", "cluster")
    assert SECRET in provider["kubeconfig"]
    config = json.loads(plain(provider)["kubeconfig"])
    (user,) = config["users"]
    assert set(user["user"]) == {"exec"}
    assert user["user"]["exec"]["command"] == "kubelogin"
    assert TENANT in user["user"]["exec"]["args"]
    assert config["clusters"][0]["cluster"] == {"server": "https://aks.example", "certificate-authority-data": CA}
    assert "must-not-be-kept" not in json.dumps(config)


def test_a_new_certificate_of_the_cluster_replaces_nothing(place: Resources) -> None:
    identifier = place.inputs("kubernetes", "cluster")["clusterIdentifier"]
    assert identifier == (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/ebbtide-azure-dev"
        "/providers/Microsoft.ContainerService/managedClusters/ebbtide-azure-dev"
    )


def test_nobody_pulls_images_but_the_nodes(place: Resources) -> None:
    registry = place.inputs("Registry")
    assert registry["adminUserEnabled"] is False
    assert registry["anonymousPullEnabled"] is False
    pull = place.inputs("RoleAssignment", "nodes-pull")
    assert pull["principalId"] == "kubelet-identity-principal"
    assert pull["roleDefinitionId"].endswith("7f951dda-4ed3-4680-a7ca-43fe172d538d")
    assert value(place.platform.registry.address) == f"{registry['registryName']}.azurecr.io/ebbtide"


def test_production_clears_untagged_images_away() -> None:
    registry = resources_of(protect=True).inputs("Registry")
    assert registry["sku"] == {"name": "Premium"}
    assert registry["policies"]["retentionPolicy"]["status"] == "enabled"


def test_weights_are_private_encrypted_versioned_and_reached_by_tls_alone(place: Resources) -> None:
    account = place.inputs("StorageAccount")
    assert account["allowBlobPublicAccess"] is False
    assert account["allowSharedKeyAccess"] is False
    assert account["minimumTlsVersion"] == "TLS1_2"
    assert account["enableHttpsTrafficOnly"] is True
    assert account["networkRuleSet"]["defaultAction"] == "Deny"
    assert [rule["virtualNetworkResourceId"] for rule in account["networkRuleSet"]["virtualNetworkRules"]] == [
        "nodes-id"
    ]
    key = account["encryption"]["keyVaultProperties"]
    assert (key["keyName"], key["keyVaultUri"]) == ("weights", "https://vault.example/")
    assert "keyVersion" not in key, "a fixed version would keep the account on an old key"
    assert place.inputs("BlobServiceProperties")["isVersioningEnabled"] is True
    assert place.inputs("BlobContainer")["publicAccess"] == "None"


def test_the_nodes_reach_the_weights_past_the_nat_gateway(place: Resources) -> None:
    assert [each["service"] for each in place.inputs("Subnet")["serviceEndpoints"]] == ["Microsoft.Storage"]


@pytest.mark.parametrize(
    ("name", "role", "subject"),
    [
        ("models-read", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", "ebbtide-models:ebbtide-model"),
        ("models-write", "ba92f5b4-2d11-453d-a403-e96b0029c9fe", "ebbtide-mirror:ebbtide-mirror"),
    ],
)
def test_serving_pods_only_read_and_the_mirror_alone_writes(
    place: Resources, name: str, role: str, subject: str
) -> None:
    right = place.inputs("RoleAssignment", name)
    assert right["roleDefinitionId"].endswith(role)
    assert right["principalId"] == f"{name}-identity-principal"
    assert right["scope"] == "models-id"
    trusted = place.inputs("FederatedIdentityCredential", f"{name}-account")
    assert trusted["subject"] == f"system:serviceaccount:{subject}"
    assert trusted["issuer"] == "https://issuer.made"
    assert trusted["audiences"] == ["api://AzureADTokenExchange"]


def test_pods_carry_what_workload_identity_asks_for(place: Resources) -> None:
    identity = place.platform.identity
    assert identity.pod_labels == {"azure.workload.identity/use": "true"}
    annotation = identity.service_account_annotations["azure.workload.identity/client-id"]
    assert value(annotation) == "models-read-identity-client"


def test_a_plan_can_say_where_weights_are_and_the_engine_learns_the_account(place: Resources) -> None:
    store: Any = place.platform.model_store
    weights = store.weights("meta-llama/Llama-3.1-8B", "0" * 40)
    assert weights.path == f"az://models/meta-llama--Llama-3.1-8B/{'0' * 40}"
    assert weights.load_format == "runai_streamer"
    account = place.inputs("StorageAccount")["accountName"]
    assert weights.environment == {"AZURE_STORAGE_ACCOUNT_NAME": account}
    assert store.upload.root == "az://models"
    assert store.upload.environment == weights.environment


def test_what_holds_data_is_protected_in_production_and_nowhere_else() -> None:
    kept = ("ManagedCluster", "AgentPool", "StorageAccount", "BlobContainer", "Registry", "Vault", "ResourceGroup")
    safe, loose = resources_of(request(), protect=True), resources_of(request())
    assert [kind for kind in kept if not safe.one(kind).protect] == []
    assert [kind for kind in kept if loose.one(kind).protect] == []
    assert all(one.protect for one in safe.all("Key"))


def test_everything_that_takes_tags_says_whose_it_is(place: Resources) -> None:
    bare = []
    for one in place.requests:
        if not one.type.startswith("azure-native:"):
            continue
        sdk_class = _resource_class(one.type)
        if "tags" in sdk_class and plain(json_format.MessageToDict(one.object)).get("tags") != {
            "ebbtide:stack": "ebbtide-azure-dev",
            "ebbtide:environment": "dev",
        }:
            bare.append(one.name)
    assert bare == []


def _resource_class(token: str) -> set[str]:
    from infra.recorder import pulumi_internals

    kind_class = pulumi_internals.resource_class(token)
    kind = pulumi_internals.inputs_class(kind_class) if kind_class is not None else None
    return set(pulumi_internals.declared(kind).properties or {}) if kind is not None else set()


def test_an_adopted_cluster_is_not_changed_but_for_the_stacks_own_pools() -> None:
    resources = resources_of(
        request(), cluster={"adopt": "theirs", "resourceGroup": "their-group"}, network={"zones": ["1"]}
    )
    assert resources.all("ManagedCluster") == []
    assert resources.all("VirtualNetwork") == []
    pool = resources.pool()
    assert (pool["resourceName"], pool["resourceGroupName"], pool["vnetSubnetID"]) == ("theirs", "their-group", SUBNET)
    assert resources.inputs("RoleAssignment", "nodes-pull")["principalId"] == "their-kubelet"
    assert resources.inputs("FederatedIdentityCredential", "models-read-account")["issuer"] == "https://issuer.theirs"
    assert resources.inputs("kubernetes", "cluster")["clusterIdentifier"].endswith("/managedClusters/theirs")


def test_a_cluster_in_a_subnet_of_somebody_elses_makes_no_network() -> None:
    resources = resources_of(network={"adopt": {"subnet": SUBNET, "wayOut": "route"}})
    assert resources.all("VirtualNetwork") == []
    assert resources.cluster()["networkProfile"]["outboundType"] == "userDefinedRouting"
    assert resources.cluster()["agentPoolProfiles"][0]["vnetSubnetID"] == SUBNET


def test_aks_upgrades_versions_and_node_images_in_the_window_that_was_asked_for() -> None:
    assert resources_of(request()).all("MaintenanceConfiguration") == []
    asked = {"day": "sun", "from": "00:30", "hours": 8, "timezone": "Europe/Berlin"}
    resources = resources_of(request(), cluster={**SETTINGS["cluster"], "maintenance": asked})
    windows = [
        resources.inputs("MaintenanceConfiguration", one.name) for one in resources.all("MaintenanceConfiguration")
    ]
    assert {one["configName"] for one in windows} == {
        "aksManagedAutoUpgradeSchedule",
        "aksManagedNodeOSUpgradeSchedule",
    }
    for one in windows:
        assert one["maintenanceWindow"] == {
            "schedule": {"weekly": {"dayOfWeek": "Saturday", "intervalWeeks": 1}},
            "startTime": "23:30",
            "durationHours": 8,
        }


@pytest.mark.parametrize(
    ("support", "protect", "tier", "plan"),
    [
        ("standard", False, "Free", "KubernetesOfficial"),
        ("standard", True, "Standard", "KubernetesOfficial"),
        ("extended", False, "Premium", "AKSLongTermSupport"),
        ("extended", True, "Premium", "AKSLongTermSupport"),
    ],
)
def test_long_term_support_takes_the_tier_that_has_it(support: str, protect: bool, tier: str, plan: str) -> None:
    cluster = resources_of(request(), protect=protect, cluster={**SETTINGS["cluster"], "support": support}).cluster()
    assert (cluster["sku"]["tier"], cluster["supportPlan"]) == (tier, plan)


def test_an_upgrade_waits_longer_than_any_pod_may_stay() -> None:
    held = About("x", "dev", longest_silence_seconds=1350)
    ingress = AzureSettings.model_validate(SETTINGS).ingress
    assert ingress is not None
    values = controller_values(ingress, {}, patience_seconds(held))
    stays = values["deployment"]["terminationGracePeriodSeconds"]
    assert stays < 60 * drain_minutes(held) <= stays + 120
    resources = resources_of(request())
    for pool in (resources.pool(), *resources.cluster()["agentPoolProfiles"]):
        assert pool["upgradeSettings"]["drainTimeoutInMinutes"] == drain_minutes(About("x", "dev"))
