"""The rights the pages ask for whoever deploys, against what the stacks really make: Google Cloud and on premises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.gateway import access as access_of_gateway
from components.gateway.config import GatewaySettings
from components.wake_keeper import KeeperSettings, KeptModel, access
from tests.program.graph_reading import Resource, of, resources

DOCS = Path(__file__).parents[2] / "docs" / "clouds"
GCP = "gcp-dev", "gcp-prod"
MADE = {  # kind of resource: permissions that name what it is, before .create, .get and .delete
    "artifactregistry/repository:Repository": "artifactregistry.repositories",
    "compute/address:Address": "compute.addresses",
    "compute/firewall:Firewall": "compute.firewalls",
    "compute/network:Network": "compute.networks",
    "compute/router:Router": "compute.routers",
    "compute/subnetwork:Subnetwork": "compute.subnetworks",
    "kms/cryptoKey:CryptoKey": "cloudkms.cryptoKeys",
    "kms/keyRing:KeyRing": "cloudkms.keyRings",
    "serviceaccount/account:Account": "iam.serviceAccounts",
    "storage/bucket:Bucket": "storage.buckets",
}
GIVEN = {  # what gives a right on one thing: that thing's policy
    "artifactregistry/repositoryIamMember:RepositoryIamMember": "artifactregistry.repositories",
    "kms/cryptoKeyIAMMember:CryptoKeyIAMMember": "cloudkms.cryptoKeys",
    "storage/bucketIAMMember:BucketIAMMember": "storage.buckets",
}
ELSEWHERE = {
    "compute/routerNat:RouterNat",  # a part of the router
    "container/cluster:Cluster",  # roles/container.admin
    "container/nodePool:NodePool",
    "projects/iAMMember:IAMMember",  # the conditional grant
}
NEVER_DELETED = {"cloudkms.keyRings", "cloudkms.cryptoKeys"}  # Google Cloud has no such permission
# an address inside the network has permissions of its own
SPELLED = {"compute.addresses.create": "compute.addresses.createInternal"}
SPELLED |= {"compute.addresses.delete": "compute.addresses.deleteInternal"}
VERBS = {"create", "delete", "get", "patch"}


def _asked() -> set[str]:
    return {r["type"][4:] for stack in GCP for r in resources(stack) if r["type"].startswith("gcp:")}


def _role() -> list[str]:
    return list(yaml.safe_load((DOCS / "gcp-deployer-role.yaml").read_text())["includedPermissions"])


def test_google_clouds_role_makes_reads_and_takes_away_every_kind_of_resource() -> None:
    assert _asked() == {*MADE, *GIVEN, *ELSEWHERE}
    permissions = {f"{thing}.{verb}" for thing in MADE.values() for verb in ("create", "get", "delete")}
    permissions -= {f"{thing}.delete" for thing in NEVER_DELETED}
    permissions |= {f"{thing}.{verb}" for thing in GIVEN.values() for verb in ("getIamPolicy", "setIamPolicy")}
    assert {SPELLED.get(one, one) for one in permissions} - set(_role()) == set()


def test_google_clouds_role_names_each_permission_once_and_none_that_gives_itself_more() -> None:
    role = _role()
    assert sorted(role) == sorted(set(role))
    more = re.compile(r"iam\.roles|resourcemanager\..*set|container\.|.*getAccessToken")
    assert [one for one in role if more.match(one)] == []


def _rules() -> list[dict[str, Any]]:
    return list(yaml.safe_load((DOCS / "on-prem-deployer.yaml").read_text())["rules"])


def _allowed(group: str, resource: str) -> set[str]:
    return {
        v for rule in _rules() if group in rule["apiGroups"] and resource in rule["resources"] for v in rule["verbs"]
    }


def _plain(resource: Resource) -> tuple[str, str]:
    """Its group and its name in the API's rules, which is the plural of its kind."""
    group = str(resource["inputs"]["apiVersion"]).rpartition("/")[0]
    kind = str(resource["inputs"]["kind"]).lower()
    return group, f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


@pytest.fixture
def objects() -> list[Resource]:
    """What the shipped stack sends, but for charts: with those an administrator is asked for."""
    sent = [r for r in resources("onprem") if r["type"].startswith("kubernetes:")]
    return [r for r in sent if "kind" in r["inputs"]]


def test_on_premises_the_deployer_may_send_every_object_of_the_stack(objects: list[Resource]) -> None:
    assert len(objects) > 10
    asked = set(map(_plain, objects)) - {("", "nodes")}
    # where there is a database
    asked |= {("rbac.authorization.k8s.io", kind) for kind in ("clusterroles", "clusterrolebindings")}
    admission = "admissionregistration.k8s.io"  # where a model may have several replicas
    asked |= {(admission, f"validatingadmissionpolic{end}") for end in ("ies", "ybindings")}
    assert {one: VERBS - _allowed(*one) for one in asked if not _allowed(*one) >= VERBS} == {}
    assert {"get", "patch"} <= _allowed("", "nodes")  # nodes are there; they get a label and a taint


def test_on_premises_the_deployer_has_what_its_role_for_the_gateway_gives(objects: list[Resource]) -> None:
    roles_made = [role["inputs"] for role in of(tuple(objects), "Role")]
    assert roles_made
    several = KeeperSettings(
        [KeptModel(name="small", hold_seconds=900, cold_start_seconds=600, growable=False, scales_in=True)]
    )
    charged = access_of_gateway.nodes_role(GatewaySettings("http://hop", []))
    # Kubernetes lets nobody give away a right of which he has less himself
    for rule in (rule for role in (*roles_made, access.role(several), charged) for rule in role["rules"]):
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                assert set(rule["verbs"]) <= _allowed(group, resource), (group, resource)
