"""``ebbtide doctor`` against a simulated Azure: every fault is shown with its fix, nothing is written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from components.platforms.azure import names
from infra.commands import doctor
from tests.unit.doctor_kit import NOW, PROJECT, Simulated, problems, report, stack, unknown

TOKEN, VAULT_TOKEN = "eyJ0." + "Zk" * 30, "eyJ1." + "Qx" * 30
NOBODY, STACK, REGION = "00000000-0000-0000-0000-000000000000", "ebbtide-azure-dev", "westeurope"
DEV = stack("azure-dev")
GROUP, CERTIFICATE = f"resource group {STACK}", "certificate of llm-dev.example.com"
STORAGE = f"storage account {names.storage_account(STACK, NOBODY)}"
REGISTRY = f"registry {names.registry(STACK, NOBODY)}"
A100, FAMILY, DAY = "machine Standard_NC24ads_A100_v4", "StandardNCADSA100v4Family", 86400
ROLE = json.loads((PROJECT / "docs/clouds/azure-deployer-role.json").read_text())["Actions"]
READS = re.compile(r"/providers/Microsoft\.(Storage|ContainerRegistry)/checkNameAvailability$")


def usage(name: str, limit: float, used: float = 0) -> dict[str, Any]:
    return {"name": {"value": name}, "limit": limit, "currentValue": used, "unit": "Count"}


def size(name: str, family: str, vcpus: int, zones: tuple[str, ...], restrictions: list[Any]) -> dict[str, Any]:
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "family": family,
        "locationInfo": [{"location": REGION, "zones": list(zones)}],
        "capabilities": [{"name": "vCPUs", "value": str(vcpus)}],
        "restrictions": restrictions,
    }


@dataclass
class Azure:
    """A subscription that is ready for its first stack, unless a test says otherwise."""

    state: str = "Enabled"
    tenant: str = NOBODY
    permissions: list[dict[str, Any]] = field(default_factory=lambda: [{"actions": ["*"], "notActions": []}])
    unregistered: str = ""
    spot: float = 24
    cores: float = 64
    dsv5: float = 16
    balancers: float = 10
    zones: tuple[str, ...] = ("1", "2", "3")
    restrictions: list[Any] = field(default_factory=list)
    plans: tuple[str, ...] = ("KubernetesOfficial",)
    version: str = "1.35"
    tags: dict[str, str] | None = None
    available: bool = True
    mine: bool = False
    expires: float = NOW.timestamp() + 90 * DAY
    hosts: tuple[str, ...] = ("llm-dev.example.com",)
    vault: int = 200
    refused: str = ""
    hangs: str = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(400)
        in_vault = request.url.host == "my-certificates.vault.azure.net"
        assert in_vault or request.url.host == "management.azure.com"
        assert request.headers["authorization"] == f"Bearer {VAULT_TOKEN if in_vault else TOKEN}"
        assert request.url.params["api-version"]
        if self.refused and self.refused in str(request.url):
            return httpx.Response(403, json={"error": {"code": "AuthorizationFailed"}})
        if self.hangs and self.hangs in str(request.url):
            raise httpx.ConnectTimeout("no answer")
        body = self._vault() if in_vault else self._management(request)
        if body is None:
            return httpx.Response(404, json={"error": {"code": "ResourceNotFound"}})
        return httpx.Response(200, json=body)

    def _vault(self) -> Any:
        properties = {"subject": f"CN={self.hosts[0]}", "sans": {"dns_names": list(self.hosts)}}
        certificate = {"attributes": {"enabled": True, "exp": self.expires}, "policy": {"x509_props": properties}}
        return certificate if self.vault == 200 else None

    def _management(self, request: httpx.Request) -> Any:
        part = request.url.path.removeprefix(f"/subscriptions/{NOBODY}")
        match part.rpartition("/")[2]:
            case "":
                return {"state": self.state, "tenantId": self.tenant, "displayName": "LLM"}
            case "permissions":
                return {"value": self.permissions}
            case "providers":
                return self._providers(request)
            case "usages" if "Microsoft.Compute" in part:
                cores = [usage("cores", self.cores), usage("lowPriorityCores", self.spot)]
                return {"value": [*cores, usage("Standard DSv5 Family", self.dsv5), usage(FAMILY, 0)]}
            case "usages":
                counts = [usage("VirtualNetworks", 50), usage("StandardSkuPublicIpAddresses", 10)]
                return {"value": [*counts, usage("StandardSkuLoadBalancers", self.balancers)]}
            case "skus":
                assert request.url.params["$filter"] == f"location eq '{REGION}'"
                gpu = size("Standard_NC24ads_A100_v4", FAMILY, 24, self.zones, self.restrictions)
                return {"value": [gpu, size("Standard_D4s_v5", "standardDSv5Family", 4, ("1", "2", "3"), [])]}
            case "kubernetesVersions":
                version = {"version": self.version, "capabilities": {"supportPlan": list(self.plans)}}
                return {"values": [{**version, "patchVersions": {f"{self.version}.1": {}}}]}
            case "checkNameAvailability":
                assert json.loads(request.content).keys() == {"name", "type"}
                return {"nameAvailable": self.available, "reason": None if self.available else "AlreadyExists"}
            case name if name == STACK:
                return {"name": name, "tags": self.tags} if self.tags is not None else None
            case name:
                return {"name": name} if self.mine else None

    def _providers(self, request: httpx.Request) -> Any:
        """The list comes in two pages."""
        spaces = ("ContainerService", "ContainerRegistry", "Storage", "KeyVault", "ManagedIdentity", "Network")
        more = ("Compute", "OperationalInsights", "Insights")
        first = "page" not in request.url.params
        providers = [
            {
                "namespace": f"Microsoft.{each}",
                "registrationState": "NotRegistered" if each == self.unregistered else "Registered",
            }
            for each in (spaces if first else more)
        ]
        following = {"nextLink": str(request.url.copy_add_param("page", "2"))} if first else {}
        return {"value": providers, **following}


@pytest.fixture(autouse=True)
def _no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "pins", lambda project: [])


def simulated(azure: Azure) -> Simulated:
    command = f"az account get-access-token --subscription {NOBODY} --resource"
    programs = {
        f"{command} https://management.azure.com": json.dumps({"accessToken": TOKEN}),
        f"{command} https://vault.azure.net": json.dumps({"accessToken": VAULT_TOKEN}),
    }
    return Simulated(azure, programs=programs)


def test_a_subscription_that_is_ready_has_no_problem_and_every_call_only_reads() -> None:
    place = simulated(Azure())
    lines = report(place, DEV, "azure-dev")
    assert {subject: each for subject, each in lines.items() if each.outcome != "ok"} == {}
    assert len(place.ran) == 2
    assert all(line.startswith("az account get-access-token ") for line in place.ran)
    assert set(lines) >= {"clock", "credentials", "rights", "quotas of vCPUs", A100, GROUP, STORAGE, CERTIFICATE}
    written = [request.url.path for request in place.asked if request.method not in ("GET", "HEAD")]
    assert len(written) == 2
    assert all(READS.search(path) for path in written)


CORES = "quotas of vCPUs"
SHUT = {"type": "Location", "reasonCode": "NotAvailableForSubscription"}
SHUT_ZONE = {"type": "Zone", "restrictionInfo": {"zones": ["2"]}}


@pytest.mark.parametrize(
    ("azure", "subject", "says"),
    [
        (Azure(spot=0), CORES, "lowPriorityCores: 0 vCPUs, 0 in use; the stack needs up to 24; fix: ask for 24 "),
        (Azure(dsv5=15), CORES, "standardDSv5Family: 15 vCPUs.*needs up to 16"),
        (Azure(cores=10), CORES, "cores: 10 vCPUs.*needs up to 16"),
        (Azure(balancers=0), "quota StandardSkuLoadBalancers", "needs up to 1"),
        (Azure(zones=("3",)), A100, "not offered in zone 1, 2; fix: .*3"),
        (Azure(restrictions=[SHUT]), A100, "not open to this subscription.*NotAvailableForSubscription"),
        (Azure(restrictions=[SHUT_ZONE]), A100, "not offered in zone 2; fix: .*1, 3"),
        (Azure(version="1.36"), "Kubernetes 1.35", "not offered in westeurope.*1.36"),
        (Azure(plans=("AKSLongTermSupport",)), "Kubernetes 1.35", "not offered"),
        (Azure(permissions=[{"actions": ROLE}]), "rights", "2 actions are missing: .*roleAssignments/write"),
        (
            Azure(permissions=[{"actions": ["*"], "notActions": ["Microsoft.Authorization/*/Write"]}]),
            "rights",
            "1 actions are missing: Microsoft.Authorization/roleAssignments/write",
        ),
        (Azure(unregistered="Insights"), "resource providers", "not registered: Microsoft.Insights; fix: for each in"),
        (Azure(tags={}), GROUP, "something else has the name"),
        (Azure(expires=NOW.timestamp() - DAY), CERTIFICATE, "expired on 2026-11-29"),
        (Azure(hosts=("a.org",)), CERTIFICATE, "is for a.org"),
        (Azure(vault=404), CERTIFICATE, "keyvault certificate import --vault-name my-certificates --name llm"),
        (Azure(state="Disabled"), "credentials", "Disabled"),
        (Azure(tenant="11111111-0000-0000-0000-000000000000"), "credentials", "tenant 11111111"),
    ],
)
def test_every_fault_is_shown_with_its_fix(azure: Azure, subject: str, says: str) -> None:
    lines = problems(report(simulated(azure), DEV, "azure-dev"))
    assert list(lines) == [subject]
    assert re.search(says, lines[subject])
    assert not lines[subject].endswith("fix: ")


def test_names_that_others_have_are_problems_and_the_stacks_own_are_not() -> None:
    taken = problems(report(simulated(Azure(available=False)), DEV, "azure-dev"))
    assert set(taken) == {STORAGE, REGISTRY}
    mine = Azure(available=False, mine=True, tags={"ebbtide:stack": STACK}, balancers=0)
    assert problems(report(simulated(mine), DEV, "azure-dev")) == {}


def test_without_credentials_the_command_to_sign_in_is_said_as_a_problem() -> None:
    lines = report(Simulated(Azure()), DEV, "azure-dev")
    assert "az login" in problems(lines)["credentials"]
    assert {"rights", CORES, STORAGE, CERTIFICATE} <= set(unknown(lines))


@pytest.mark.parametrize(
    ("azure", "subject", "says"),
    [
        (Azure(refused="vault.azure.net"), CERTIFICATE, "not allowed to read my-certificates.vault.azure.net"),
        (Azure(refused="Microsoft.Storage/check"), STORAGE, "not allowed to checkNameAvailability"),
        (Azure(refused="/permissions"), "rights", "not allowed to read management.azure.com"),
        (Azure(hangs="kubernetesVersions"), "Kubernetes 1.35", "does not answer in time"),
    ],
)
def test_what_cannot_be_asked_is_said_and_hides_nothing_else(azure: Azure, subject: str, says: str) -> None:
    azure.tags = {}
    lines = report(simulated(azure), DEV, "azure-dev")
    assert says in unknown(lines)[subject]
    assert list(problems(lines)) == [GROUP]
