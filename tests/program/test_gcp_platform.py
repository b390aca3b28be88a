"""What the rest of Google Cloud is asked for."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
from google.protobuf import json_format

from components.platforms.contract import Disk, Sharing
from tests.program.gcp_kit import (
    A100,
    H100,
    LAST,
    NUMBER,
    PROJECT,
    REGION,
    SETTINGS,
    THERE,
    node,
    plain,
    request,
    resources_of,
    value,
)
from tests.program.wire_types import checkable, wrong_inputs


def test_the_cluster_is_private_enforces_policies_and_encrypts_secrets() -> None:
    cluster = resources_of().inputs("Cluster", "gke")
    assert cluster["location"] == REGION
    assert cluster["privateClusterConfig"] == {"enablePrivateNodes": True, "enablePrivateEndpoint": True}
    assert cluster["masterAuthorizedNetworksConfig"]["cidrBlocks"] == []
    assert cluster["datapathProvider"] == "ADVANCED_DATAPATH"
    assert cluster["databaseEncryption"]["state"] == "ENCRYPTED"
    assert cluster["databaseEncryption"]["keyName"] == "ebbtide-gcp-dev-data-id"
    assert cluster["workloadIdentityConfig"] == {"workloadPool": f"{PROJECT}.svc.id.goog"}
    assert cluster["enableShieldedNodes"] is True
    assert cluster["removeDefaultNodePool"] is True
    assert cluster["releaseChannel"] == {"channel": "REGULAR"}
    assert {"APISERVER", "SYSTEM_COMPONENTS"} <= set(cluster["loggingConfig"]["enableComponents"])
    assert cluster["masterAuth"]["clientCertificateConfig"]["issueClientCertificate"] is False


def test_a_public_api_endpoint_answers_the_networks_told_and_no_other() -> None:
    cluster = resources_of(cluster={"apiAllowedNetworks": ["203.0.113.0/24"]}).inputs("Cluster", "gke")
    assert cluster["privateClusterConfig"]["enablePrivateEndpoint"] is False
    assert [block["cidrBlock"] for block in cluster["masterAuthorizedNetworksConfig"]["cidrBlocks"]] == [
        "203.0.113.0/24"
    ]


def test_the_network_gives_private_nodes_a_way_out_and_the_load_balancer_its_proxies() -> None:
    graph = resources_of()
    nodes = graph.inputs("Subnetwork", "nodes-subnet")
    assert nodes["privateIpGoogleAccess"] is True
    assert [part["rangeName"] for part in nodes["secondaryIpRanges"]] == ["pods", "services"]
    proxies = graph.inputs("Subnetwork", "proxies-subnet")
    assert proxies["purpose"] == "REGIONAL_MANAGED_PROXY"
    door = graph.inputs("Firewall", "proxies-in")
    assert door["sourceRanges"] == [proxies["ipCidrRange"]]
    assert door["allows"] == [{"protocol": "tcp", "ports": ["4000"]}]
    assert graph.inputs("RouterNat")["subnetworks"][0]["name"] == "nodes-subnet-id"
    assert graph.inputs("Network", "vpc")["autoCreateSubnetworks"] is False


def test_an_adopted_network_is_used_and_none_is_made() -> None:
    adopt = {"network": "main", "subnet": "gke", "podsRange": "p", "servicesRange": "s", "project": "host-project"}
    graph = resources_of(network={"adopt": adopt})
    assert graph.all("Network") + graph.all("Subnetwork") + graph.all("Router") == []
    cluster = graph.inputs("Cluster", "gke")
    assert cluster["network"] == "projects/host-project/global/networks/main"
    assert cluster["ipAllocationPolicy"] == {"clusterSecondaryRangeName": "p", "servicesSecondaryRangeName": "s"}


def test_an_adopted_cluster_gets_pools_and_nothing_under_them() -> None:
    graph = resources_of(request(), cluster={"adopt": "theirs"})
    assert graph.all("Cluster") + graph.all("Network") == []
    assert graph.inputs("NodePool", "gpu-1xl4")["cluster"] == f"projects/{PROJECT}/locations/{REGION}/clusters/theirs"
    assert "https://10.9.9.9" in graph.inputs("kubernetes")["kubeconfig"]["value"]
    assert graph.inputs("Address")["subnetwork"] == THERE["subnetwork"]


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ({"endpoint": ""}, "is not a cluster"),
        ({"workloadIdentityConfigs": []}, "no Workload Identity"),
        ({"datapathProvider": "LEGACY_DATAPATH"}, "enforces no NetworkPolicy"),
    ],
)
def test_a_cluster_that_cannot_be_adopted_is_refused_before_anything_is_made(lacks: dict[str, Any], says: str) -> None:
    with pytest.raises(pulumi.RunError, match=says):
        resources_of(request(), cluster={"adopt": "theirs"}, answers={"getCluster": {**THERE, **lacks}})
    assert [one.type for one in LAST if one.custom] in ([], ["pulumi:providers:gcp"])


def test_another_project_than_the_stacks_is_refused_before_anything_is_made() -> None:
    with pytest.raises(pulumi.RunError, match=r"acme-llm-dev.*'other' answered.*gcloud auth"):
        resources_of(request(), answers={"getProject": {"projectId": "other", "number": "1"}})
    assert [one.type for one in LAST if one.custom] in ([], ["pulumi:providers:gcp"])


def test_a_refreshed_kubeconfig_replaces_nothing_and_is_kept_secret() -> None:
    inputs = resources_of().inputs("kubernetes")
    assert inputs["clusterIdentifier"] == f"projects/{PROJECT}/locations/{REGION}/clusters/ebbtide-gcp-dev"
    assert "4dabf18193072939515e22adb298388d" in inputs["kubeconfig"]
    assert "gke-gcloud-auth-plugin" in inputs["kubeconfig"]["value"]
    assert "https://10.0.0.2" in inputs["kubeconfig"]["value"].replace("\\/", "/")


def test_the_dns_endpoint_is_used_where_it_is_asked_for() -> None:
    config = resources_of(cluster={"dnsEndpoint": True}).inputs("kubernetes")["kubeconfig"]["value"]
    assert "https://gke-1.gke.goog" in config
    assert "certificate-authority-data" not in config


def test_the_bucket_is_private_encrypted_versioned_and_of_the_clusters_region() -> None:
    bucket = resources_of().inputs("Bucket")
    assert bucket["name"] == "ebbtide-gcp-dev-models-acme-llm-dev"
    assert bucket["location"] == REGION.upper()
    assert bucket["uniformBucketLevelAccess"] is True
    assert bucket["publicAccessPrevention"] == "enforced"
    assert bucket["versioning"] == {"enabled": True}
    assert bucket["encryption"] == {"defaultKmsKeyName": "ebbtide-gcp-dev-data-id"}


def test_models_may_read_the_bucket_and_only_the_mirror_may_write() -> None:
    grants = [json_format.MessageToDict(one.object) for one in resources_of().all("BucketIAMMember")]
    pool = (
        f"principal://iam.googleapis.com/projects/{NUMBER}/locations/global/workloadIdentityPools/{PROJECT}.svc.id.goog"
    )
    roles: dict[str, set[str]] = {}
    for grant in grants:
        roles.setdefault(grant["member"], set()).add(grant["role"])
    assert roles == {
        f"{pool}/subject/ns/ebbtide-models/sa/ebbtide-model": {
            "roles/storage.legacyBucketReader",
            "roles/storage.objectViewer",
        },
        f"{pool}/subject/ns/ebbtide-mirror/sa/ebbtide-mirror": {
            "roles/storage.legacyBucketReader",
            "roles/storage.objectUser",
        },
    }


def test_weights_are_read_and_written_under_the_same_root_in_the_form_vllm_takes() -> None:
    store = resources_of().platform.model_store
    weights = store.weights("meta-llama/Llama-3.1-8B-Instruct", "a" * 40)
    assert weights.path == f"gs://ebbtide-gcp-dev-models-acme-llm-dev/meta-llama--Llama-3.1-8B-Instruct/{'a' * 40}"
    assert weights.load_format == "runai_streamer"
    assert store.upload is not None
    assert weights.path.startswith(f"{store.upload.root}/")


def test_the_registry_takes_no_tag_twice_and_only_nodes_pull() -> None:
    graph = resources_of()
    repository = graph.inputs("Repository")
    assert repository["dockerConfig"] == {"immutableTags": True}
    assert [policy["action"] for policy in repository["cleanupPolicies"]] == ["KEEP", "DELETE"]
    assert repository["vulnerabilityScanningConfig"] == {"enablementConfig": "INHERITED"}
    (pull,) = (json_format.MessageToDict(one.object) for one in graph.all("RepositoryIamMember"))
    assert pull["role"] == "roles/artifactregistry.reader"
    assert pull["member"].startswith("serviceAccount:ebbtide-gcp-dev-nodes@")
    assert value(graph.platform.registry.address) == f"{REGION}-docker.pkg.dev/{PROJECT}/ebbtide-gcp-dev"


def test_the_pushing_token_is_a_secret() -> None:
    auth = resources_of().platform.registry.auth
    assert auth is not None
    assert isinstance(auth.password, pulumi.Output)
    assert value(pulumi.Output.from_input(auth.password).is_secret()) is True


def test_a_public_load_balancer_answers_its_allow_list_and_refuses_the_rest() -> None:
    networks = [f"203.0.{index}.0/24" for index in range(12)]
    ingress = {"host": "llm.example.com", "certificate": "managed", "public": True, "allowedNetworks": networks}
    graph = resources_of(ingress=ingress)
    rules = sorted(graph.inputs("SecurityPolicy")["rules"], key=lambda rule: rule["priority"])
    assert [rule["action"] for rule in rules] == ["allow", "allow", "deny(403)"]
    assert [cidr for rule in rules[:2] for cidr in rule["match"]["config"]["srcIpRanges"]] == networks
    assert all(len(rule["match"]["config"]["srcIpRanges"]) <= 10 for rule in rules)
    assert rules[2]["match"]["config"]["srcIpRanges"] == ["*"]
    assert graph.inputs("SSLPolicy")["minTlsVersion"] == "TLS_1_2"
    assert graph.all("Address") == []


def test_the_load_balancers_address_is_found_by_the_name_its_annotation_gives() -> None:
    graph = resources_of()
    http = graph.platform.ingress.http
    assert http is not None
    assert graph.inputs("Address")["name"] == http.annotations["kubernetes.io/ingress.regional-static-ip-name"]
    assert graph.inputs("Address")["addressType"] == "INTERNAL"


def test_what_the_load_balancer_uses_goes_after_it() -> None:
    """Google refuses to delete an address, a policy or a TLS policy in use, and the Ingress tells them by name only."""
    ready = {type(one).__name__ for one in resources_of().platform.ready}
    assert "GcpIngress" in ready


def test_a_protected_stack_protects_what_holds_data_or_is_slow_to_get_back() -> None:
    graph = resources_of(request(), protect=True)
    protected = {(one.type.rpartition(":")[2], one.name) for one in graph.requests if one.protect}
    assert protected == {
        ("Cluster", "gke"),
        ("NodePool", "gpu-1xl4"),
        ("Bucket", "models"),
        ("Repository", "images"),
        ("CryptoKey", "ebbtide-gcp-dev-data"),
    }
    assert graph.inputs("Cluster", "gke")["deletionProtection"] is True
    assert graph.inputs("Bucket")["forceDestroy"] is False
    assert not [one for one in resources_of(request()).requests if one.protect]


def test_whatever_takes_labels_carries_the_stacks_name_and_environment() -> None:
    labels = {"ebbtide-stack": "ebbtide-gcp-dev", "ebbtide-environment": "dev"}
    graph = resources_of(request())
    places = {"Cluster": "resourceLabels", "Bucket": "labels", "Repository": "labels", "CryptoKey": "labels"}
    for kind, field in places.items():
        name = "gke" if kind == "Cluster" else None
        assert labels.items() <= graph.inputs(kind, name)[field].items(), kind
    assert labels.items() <= node(graph)["resourceLabels"].items()


def test_every_resource_hangs_under_the_platform_and_uses_its_provider() -> None:
    graph = resources_of(request())
    for one in graph.requests:
        if one.type.startswith("gcp:"):
            assert "GcpPlatform" in one.parent, one.name
            assert "providers:gcp::google" in one.provider, one.name


PUBLIC = {"host": "llm.example.com", "certificate": "managed", "public": True, "allowedNetworks": ["203.0.113.0/24"]}


@pytest.mark.parametrize("changes", [{}, {"ingress": PUBLIC}, {"cluster": {"adopt": "theirs"}}])
def test_every_value_down_to_the_nested_ones_is_of_a_key_and_type_the_sdk_knows(changes: dict[str, Any]) -> None:
    """Mocks take anything: a key that the provider does not have would be dropped without a word."""
    pools = (
        request(machine=H100, disk=Disk(300, 6000, 1000)),
        request("spot", spot=True, sharing=Sharing("timeSlicing", replicas=4)),
        request("cut", A100, sharing=Sharing("mig", profile="3g.40gb"), reservation="r", zones=("europe-west4-a",)),
    )
    asked = [one for one in resources_of(*pools, **changes).requests if one.type.startswith("gcp:")]
    assert all(checkable(one.type) for one in asked)
    wrong = [f"{one.name}: {says}" for one in asked for says in wrong_inputs(one.type, plain(one))]
    assert wrong == []


def test_two_locks_hold_a_protected_cluster_and_the_stack_file_opens_googles() -> None:
    cluster = dict(SETTINGS["cluster"])
    assert resources_of(request(), protect=True).inputs("Cluster", "gke")["deletionProtection"] is True
    opened = resources_of(request(), protect=True, cluster={**cluster, "deletionProtection": False})
    assert opened.inputs("Cluster", "gke")["deletionProtection"] is False
    assert opened.one("Cluster", "gke").protect  # which `pulumi state unprotect` opens
    locked = resources_of(request(), cluster={**cluster, "deletionProtection": True})
    assert locked.inputs("Cluster", "gke")["deletionProtection"] is True


def test_gke_upgrades_in_the_window_that_was_asked_for() -> None:
    assert "maintenancePolicy" not in resources_of(request()).inputs("Cluster", "gke")
    window = {"day": "sun", "from": "00:30", "hours": 12, "timezone": "Europe/Berlin"}
    cluster = resources_of(request(), cluster={**SETTINGS["cluster"], "maintenance": window}).inputs("Cluster", "gke")
    assert cluster["maintenancePolicy"] == {
        "recurringWindow": {
            "startTime": "2026-01-10T23:30:00Z",
            "endTime": "2026-01-11T11:30:00Z",
            "recurrence": "FREQ=WEEKLY;BYDAY=SA",
        }
    }
