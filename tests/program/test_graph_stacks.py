"""Every stack file of the project as a recorded graph: what would break a user, in sentences."""

from __future__ import annotations

import json
import re

import pytest

from infra.recorder import pulumi_internals
from tests.program.dropped_values import dropped
from tests.program.graph_reading import (
    AGENT_POOL,
    ALL_STACKS,
    MANAGED_CLUSTER,
    NODE_GROUP,
    NODE_POOL,
    Resource,
    fits,
    gpu_pools,
    kind,
    models,
    of,
    pods,
    recording,
    resources,
    strings,
    tolerates,
)
from tests.program.wire_types import checkable, wrong_in

FIELDS = ["urn", "type", "name", "parent", "custom", "inputs", "protect", "ignoreChanges", "dependsOn", "provider"]
LATE = re.compile(r"\$\{([^}]+)#([^}]+)\}")
COUNTED = {
    NODE_GROUP: {"scalingConfig"},
    AGENT_POOL: {"count"},
    MANAGED_CLUSTER: {"agentPoolProfiles[*].count"},
    NODE_POOL: {"initialNodeCount", "nodeCount"},
}
"""What a place's autoscaler writes, as the wire spells it."""
KEPT_IN_PRODUCTION = {
    "aws:eks/cluster:Cluster", "aws:s3/bucket:Bucket", "aws:ecr/repository:Repository", "aws:kms/key:Key",
    MANAGED_CLUSTER, "azure-native:storage:StorageAccount", "azure-native:storage:BlobContainer",
    "azure-native:containerregistry:Registry", "azure-native:keyvault:Vault", "azure-native:keyvault:Key", AGENT_POOL,
    "gcp:container/cluster:Cluster", "gcp:storage/bucket:Bucket", "gcp:artifactregistry/repository:Repository",
    "gcp:kms/cryptoKey:CryptoKey",
}  # fmt: skip
CLEAR = re.compile(r"sk-[A-Za-z0-9]{20}|hf_[A-Za-z0-9]{20}|AKIA[A-Z0-9]{16}|-----BEGIN")
OPEN = ("0.0.0.0/0", "::/0", "*", "Internet")
Graph = tuple[Resource, ...]


@pytest.fixture(params=ALL_STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def graph(stack: str) -> Graph:
    return resources(stack)


def test_no_stack_of_the_project_is_left_out() -> None:
    stacks = {f"{place}-{stage}" for place in ("aws", "azure", "gcp") for stage in ("dev", "prod")}
    assert {"local", "onprem", *stacks} <= set(ALL_STACKS)


def test_every_entry_has_the_ten_fields_and_nothing_that_is_not_json(graph: Graph) -> None:
    assert len(graph) > 30
    for entry in graph:
        assert list(entry) == FIELDS
    assert json.loads(json.dumps(graph, allow_nan=False)) == list(graph)


def test_every_resource_stands_after_its_parent_its_provider_and_all_it_depends_on(graph: Graph) -> None:
    earlier = {f"urn:pulumi:{graph[0]['urn'].split(':')[2]}::ebbtide::pulumi:pulumi:Stack::"}
    root = next(iter(earlier))
    for entry in graph:
        assert entry["parent"] in earlier or entry["parent"].startswith(root), entry["urn"]
        assert set(entry["dependsOn"]) <= earlier, entry["urn"]
        assert not entry["provider"] or entry["provider"] in earlier, entry["urn"]
        assert entry["urn"] not in earlier, "two resources of one name"
        earlier.add(entry["urn"])


def test_every_late_value_comes_from_a_resource_of_the_graph_or_a_providers_function(graph: Graph) -> None:
    urns = {entry["urn"] for entry in graph}
    for entry in graph:
        for text in strings(entry["inputs"]):
            for source, _ in LATE.findall(text):
                assert source in urns or source.endswith(")"), f"{entry['urn']}: {text}"
            assert not re.search(r"late[0-9a-f]{8}", text), f"{entry['urn']}: a late value was cut: {text}"


def test_the_sdks_know_every_key_and_every_type_of_what_is_sent(graph: Graph) -> None:
    assert wrong_in(list(graph)) == []
    assert sum(checkable(entry["type"]) for entry in graph) > 20


def test_each_pools_taint_is_tolerated_by_exactly_the_models_that_target_it(graph: Graph) -> None:
    pools = gpu_pools(graph)
    assert pools
    assert models(graph)
    for pool in pools:
        assert pool.taints, f"{pool.name}: anything could hold its nodes up"
    for workload, pod in pods(graph):
        for pool in pools:
            welcome = all(tolerates(pod, taint) for taint in pool.taints)
            meant = fits(pod, pool) and (workload, pod) in models(graph)
            assert welcome == meant, f"{workload['name']} on {pool.name}: tolerated {welcome}, meant {meant}"


def test_each_model_has_one_pool_to_run_on(graph: Graph) -> None:
    for workload, pod in models(graph):
        assert pod["nodeSelector"], workload["name"]
        assert len([pool for pool in gpu_pools(graph) if fits(pod, pool)]) == 1, workload["name"]


def test_the_number_of_nodes_is_left_to_the_autoscaler_in_the_wires_own_spelling(graph: Graph) -> None:
    for entry in graph:
        if entry["type"] in COUNTED:
            assert COUNTED[entry["type"]] <= set(entry["ignoreChanges"]), entry["urn"]


def test_every_ignored_path_begins_with_a_property_that_the_wire_has(graph: Graph) -> None:
    for entry in graph:
        resource = pulumi_internals.resource_class(entry["type"])
        inputs = pulumi_internals.inputs_class(resource) if resource else None
        if inputs is not None:
            known = pulumi_internals.declared(inputs).properties or {}
            firsts = {re.split(r"[.\[]", path)[0] for path in entry["ignoreChanges"]}
            assert firsts <= set(known), f"{entry['urn']}: {firsts - set(known)} is silently ignored"


def test_gpu_pools_begin_with_no_node(graph: Graph) -> None:
    for entry in graph:
        inputs = entry["inputs"]
        if entry["type"] == NODE_GROUP and "workerType" in inputs.get("labels", {}):
            assert inputs["scalingConfig"]["minSize"] == inputs["scalingConfig"]["desiredSize"] == 0
        if entry["type"] == AGENT_POOL:
            assert inputs["minCount"] == inputs["count"] == 0
        if entry["type"] == NODE_POOL and "workerType" in inputs["nodeConfig"].get("labels", {}):
            assert inputs["initialNodeCount"] == 0
            assert inputs["autoscaling"].get("totalMinNodeCount", inputs["autoscaling"].get("minNodeCount")) == 0


def test_every_gpu_group_tells_its_autoscaler_what_a_node_would_be(graph: Graph) -> None:
    groups = [e for e in of(graph, NODE_GROUP) if "workerType" in e["inputs"].get("labels", {})]
    template = "k8s.io/cluster-autoscaler/node-template/"
    for group in groups:
        tags = {
            tag["inputs"]["tag"]["key"]: tag["inputs"]["tag"]["value"]
            for tag in of(graph, "aws:autoscaling/tag:Tag")
            if f"${{{group['urn']}#resources[0].autoscalingGroups[0].name}}" == tag["inputs"]["autoscalingGroupName"]
        }
        for key, value in group["inputs"]["labels"].items():
            assert tags.get(f"{template}label/{key}") == value, f"{group['name']}: {key}"
        for taint in group["inputs"]["taints"]:
            taint_value = f"{taint['value']}:NoSchedule"
            assert tags.get(f"{template}taint/{taint['key']}") == taint_value, f"{group['name']}: {taint}"
        assert int(tags[f"{template}resources/nvidia.com/gpu"]) in (1, 4, 8)


def test_replicas_are_left_to_keda_and_a_model_begins_asleep(graph: Graph) -> None:
    scaled = {e["inputs"]["spec"]["scaleTargetRef"]["name"] for e in of(graph, "ScaledObject")}
    for workload, _ in models(graph):
        assert "spec.replicas" in workload["ignoreChanges"], workload["name"]
        assert workload["inputs"]["metadata"]["name"] in scaled


def test_nothing_listens_publicly_without_tls_and_keys(graph: Graph) -> None:
    for entry in of(graph, "Ingress"):
        notes, spec = entry["inputs"]["metadata"].get("annotations", {}), entry["inputs"]["spec"]
        text = " ".join([*notes, *notes.values()])
        encrypted = "tls" in spec or any(word in text for word in ("certificate-arn", "router.tls", "pre-shared-cert"))
        assert encrypted, f"{entry['name']}: no TLS"
        assert notes.get("kubernetes.io/ingress.allow-http", "false") == "false", entry["name"]
        assert '"HTTP"' not in text, f"{entry['name']}: also in clear"
        behind = {path["backend"]["service"]["name"] for rule in spec["rules"] for path in rule["http"]["paths"]}
        assert behind == {"gateway"}, "the gateway asks for a key; nothing else does"
    for entry in of(graph, "Service"):
        if entry["inputs"]["spec"].get("type") == "LoadBalancer":
            notes = " ".join(f"{k}={v}" for k, v in entry["inputs"]["metadata"].get("annotations", {}).items())
            assert re.search(r"internal=true|scheme=internal|type=Internal", notes), f"{entry['name']} is public"
        if entry["inputs"]["spec"].get("type") == "NodePort":
            assert entry["inputs"]["metadata"]["name"] == "gateway"


def test_no_api_of_a_cluster_is_open_to_everybody(graph: Graph) -> None:
    for entry in of(graph, "aws:eks/cluster:Cluster"):
        network = entry["inputs"]["vpcConfig"]
        assert network["endpointPrivateAccess"] is True
        assert network["endpointPublicAccess"] is False or _closed(network.get("publicAccessCidrs"))
    for entry in of(graph, MANAGED_CLUSTER):
        access = entry["inputs"]["apiServerAccessProfile"]
        assert access.get("enablePrivateCluster") is True or _closed(access.get("authorizedIPRanges"))
        assert entry["inputs"]["disableLocalAccounts"] is True
    for entry in of(graph, "gcp:container/cluster:Cluster"):
        private = entry["inputs"]["privateClusterConfig"]
        allowed = entry["inputs"].get("masterAuthorizedNetworksConfig", {}).get("cidrBlocks", [])
        assert private["enablePrivateNodes"] is True
        assert private["enablePrivateEndpoint"] is True or _closed([block["cidrBlock"] for block in allowed])


def _closed(networks: list[str] | None) -> bool:
    return bool(networks) and not set(networks or ()) & set(OPEN)


def test_no_bucket_can_be_read_by_everybody(graph: Graph) -> None:
    guards = {e["inputs"]["bucket"] for e in of(graph, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")}
    for entry in of(graph, "aws:s3/bucket:Bucket"):
        assert any(entry["urn"] in guard or guard == entry["inputs"].get("bucket") for guard in guards), entry["urn"]
    for entry in of(graph, "azure-native:storage:StorageAccount"):
        assert entry["inputs"]["allowBlobPublicAccess"] is False
    for entry in of(graph, "gcp:storage/bucket:Bucket"):
        assert entry["inputs"]["publicAccessPrevention"] == "enforced"
        assert entry["inputs"]["uniformBucketLevelAccess"] is True


def test_in_production_what_holds_data_or_is_slow_to_get_back_is_protected(stack: str, graph: Graph) -> None:
    held = [e for e in graph if e["type"] in KEPT_IN_PRODUCTION]
    held += [e for e in graph if e["type"] in COUNTED and "workerType" in repr(e["inputs"])]
    if stack.partition("-")[0] in ("aws", "azure", "gcp"):
        assert {e["type"] for e in held} >= {t for t in COUNTED if any(e["type"] == t for e in graph)}
        assert len(held) >= 5
    for entry in held:
        assert entry["protect"] is stack.endswith("-prod"), entry["urn"]


def test_every_image_is_used_by_digest(graph: Graph) -> None:
    built = {e["urn"] for e in of(graph, "docker-build:index:Image")}
    for workload, pod in pods(graph):
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            image = container["image"]
            late = LATE.fullmatch(image)
            assert (late and late[1] in built and late[2] == "ref") or re.search(r"@sha256:[0-9a-f]{64}$", image), (
                f"{workload['name']}: {image}"
            )


def test_no_secret_stands_in_clear_anywhere(graph: Graph) -> None:
    for entry in graph:
        for text in strings(entry["inputs"]):
            assert not CLEAR.search(text), entry["urn"]
    for entry in of(graph, "Secret"):
        values_in_clear = [entry["inputs"].get(field) for field in ("stringData", "data")]
        values = [v for each in values_in_clear if each for v in (each.values() if isinstance(each, dict) else [each])]
        assert values, entry["urn"]
        assert set(values) == {"[secret]"}, entry["urn"]
    for provider in (e for e in graph if e["type"] == "pulumi:providers:kubernetes"):
        values_in_clear = provider["inputs"].get("kubeconfig", "")
        assert values_in_clear == "[secret]" or values_in_clear.startswith("/"), "a path of this machine, or hidden"


def test_passwords_are_made_only_for_the_gateways_keys(graph: Graph) -> None:
    for entry in of(graph, "random:index/randomPassword:RandomPassword"):
        (parent,) = [e for e in graph if e["urn"] == entry["parent"]]
        assert kind(parent) == "Gateway"


def test_only_checks_of_what_the_place_alone_knows_stumble_over_late_values(stack: str) -> None:
    # is this the account? is this kubeconfig one? Everything else comes out as it would be sent
    assert all(note.startswith("components.platforms.") for note in recording(stack).notes), recording(stack).notes


def test_no_object_carries_an_empty_value_that_the_api_server_leaves_out(graph: Graph) -> None:
    # KEDA's own objects are as its release renders them, or stood in for where nothing is up
    ours = [r for r in graph if r["type"].startswith("kubernetes:") and "idle-scaling-manifests" not in r["name"]]
    assert dropped(r["inputs"] for r in ours if r["custom"] and "helm.sh" not in r["type"]) == []
