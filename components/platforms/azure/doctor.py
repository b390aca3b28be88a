"""What Azure can be asked before a first deploy: quotas, rights, resource providers, versions, machines, names, the
certificate."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import partial
from typing import Any

from components.platforms import checkup
from components.platforms.azure import names
from components.platforms.azure.settings import CERTIFICATE_ID, RESERVATION_ID, AzureSettings
from components.platforms.bearer import Bearer, NotAllowed, NotFound
from components.platforms.checkup import (
    Answer,
    CannotAsk,
    Check,
    NotSignedIn,
    Tools,
    clock,
    good,
    machine_zones,
    name_of,
    problem,
    within,
)
from components.platforms.contract import About, PoolRequest

_ROLE = "azure-deployer-role.json"
_MANAGEMENT, _VAULT = "https://management.azure.com", "https://vault.azure.net"
_table = partial(checkup.facts_beside, __file__)


def checks(place: AzureSettings, pools: Mapping[str, PoolRequest], about: About, tools: Tools) -> Iterator[Check]:
    """Yield every question."""
    asking = _Subscription(place, pools, about, tools)
    group, storage = names.resource_group(about), names.storage_account(about.name, place.subscription)
    registry = names.registry(about.name, place.subscription)
    questions: dict[str, Callable[[], Iterator[Answer]]] = {
        "credentials": asking.identity,
        "rights": asking.rights,
        "resource providers": asking.providers,
        "quotas of vCPUs": asking.cores,
        **{f"quota {name}": partial(asking.network, name) for name in asking.counted()},
        **{f"machine {machine}": partial(asking.offered, machine, zones) for machine, zones in asking.machines.items()},
        **{f"reservation of {name}": partial(asking.reserved, request) for name, request in asking.reservations()},
        f"resource group {group}": asking.group,
        f"storage account {storage}": partial(asking.free, "Storage", "storageAccounts", "storage", storage),
        f"registry {registry}": partial(asking.free, "ContainerRegistry", "registries", "registry", registry),
    }
    if place.cluster.adopt is not None:
        questions[f"cluster {place.cluster.adopt}"] = asking.adopted
    elif place.cluster.version is not None:
        questions[f"Kubernetes {place.cluster.version}"] = partial(asking.version, place.cluster.version)
    if place.ingress is not None:
        questions[f"certificate of {place.ingress.host}"] = partial(
            asking.certificate, place.ingress.certificate, place.ingress.host
        )
    yield clock(tools, f"{_MANAGEMENT}/")
    yield from (Check(subject=subject, ask=ask) for subject, ask in questions.items())


class _Subscription:
    """The questions about one stack. Each yields its answers or raises ``CannotAsk``."""

    def __init__(self, place: AzureSettings, pools: Mapping[str, PoolRequest], about: About, tools: Tools) -> None:
        self.place, self.pools, self.about, self.tools = place, pools, about, tools
        system = place.cluster.system_pool.machine if place.cluster.adopt is None else None
        self.machines = machine_zones(system, pools, place.network.zones)
        login = f"az login --tenant {place.tenant}"
        self.api = Bearer(
            tools, partial(_token, tools, place.subscription, _MANAGEMENT), login, ("management.azure.com",), {}
        )
        self.vault = Bearer(tools, partial(_token, tools, place.subscription, _VAULT), login, (".vault.azure.net",), {})
        self._lock, self._sizes = threading.Lock(), dict[str, Mapping[str, Any]]()

    def _url(self, path: str, version: str, query: str = "") -> str:
        at = f"{_MANAGEMENT}/subscriptions/{self.place.subscription}{path}"
        return f"{at}?api-version={_table()['versions'][version]}{query}"

    def _list(self, path: str, version: str, query: str = "") -> Iterator[Any]:
        yield from self.api.pages(self._url(path, version, query), "value", "nextLink")

    def identity(self) -> Iterator[Answer]:
        fix = f"az login --tenant {self.place.tenant} as somebody of it, or correct platform.subscription"
        try:
            subscription = self.api.get(self._url("", "subscription"))
        except NotSignedIn as missing:
            yield problem(missing.why, missing.fix)
        except (NotAllowed, NotFound):
            yield problem(f"do not see the subscription {self.place.subscription}", fix)
        else:
            if subscription.get("state") != "Enabled":
                yield problem(f"the subscription is {subscription.get('state')}", "enable it in the portal")
            elif subscription.get("tenantId", self.place.tenant) != self.place.tenant:
                yield problem(f"the subscription is in tenant {subscription['tenantId']}", "correct platform.tenant")
            else:
                yield good(f"see {subscription.get('displayName', self.place.subscription)}")

    # rights and resource providers

    def rights(self) -> Iterator[Answer]:
        held = list(self._list("/providers/Microsoft.Authorization/permissions", "permissions"))
        role = json.loads((self.tools.documents / _ROLE).read_text(encoding="utf-8"))["Actions"]
        if missing := [action for action in (*role, *_table()["besides"]) if not _may(held, action)]:
            fix = f"give the role of docs/clouds/{_ROLE}, and the right to assign roles, on the subscription"
            yield problem(f"{len(missing)} actions are missing: {', '.join(missing)}", fix)
        else:
            yield good(f"those of docs/clouds/{_ROLE}, and to assign roles, on the subscription")

    def providers(self) -> Iterator[Answer]:
        states = {
            each.get("namespace"): each.get("registrationState") for each in self._list("/providers", "providers")
        }
        if missing := [name for name in _table()["providers"] if states.get(name) != "Registered"]:
            fix = f"for each in {' '.join(missing)}; do az provider register --namespace $each --wait; done"
            yield problem(f"not registered: {', '.join(missing)}", fix)
        else:
            yield good("registered")

    # quotas

    def cores(self) -> Iterator[Answer]:
        """Yield an answer for each quota of vCPUs; a machine's family is what the subscription's own list says."""
        needed: dict[str, float] = {}
        for machine, spot, nodes in self._nodes():
            size = self._size(machine)
            if size is None:
                raise CannotAsk(f"{machine} is not in the list of machines of {self.place.region}")
            vcpus = nodes * float(next(each["value"] for each in size["capabilities"] if each["name"] == "vCPUs"))
            quotas = (_table()["spotCores"],) if spot else (size["family"], _table()["allCores"])
            for name in quotas:
                needed[name] = needed.get(name, 0) + vcpus
        where = f"/providers/Microsoft.Compute/locations/{self.place.region}/usages"
        usages = {_squeezed(each["name"]["value"]): each for each in self._list(where, "usages")}
        for name, count in needed.items():
            usage = usages.get(_squeezed(name), {"limit": 0, "currentValue": 0})
            most = usage["currentValue"] + count
            fix = f"ask for {most:g} {name} in {self.place.region} in the portal (Usage + quotas)"
            answer = within(count, usage["limit"], usage["currentValue"], "vCPUs", f"{fix}, or lower max")
            yield Answer(outcome=answer.outcome, text=f"{name}: {answer.text}", fix=answer.fix)

    def _nodes(self) -> Iterator[tuple[str, bool, int]]:
        """Yield machine, spot and nodes at most."""
        if self.place.cluster.adopt is None:
            # one more while upgrading
            yield self.place.cluster.system_pool.machine, False, self.place.cluster.system_pool.max + 1
        for request in self.pools.values():
            if request.machine is not None:
                yield request.machine.name, request.spot, request.pool.max_nodes

    def _size(self, machine: str) -> Mapping[str, Any] | None:
        with self._lock:
            if not self._sizes:
                query = f"&%24filter=location%20eq%20%27{self.place.region}%27"
                for each in self._list("/providers/Microsoft.Compute/skus", "skus", query):
                    if each.get("resourceType") == "virtualMachines":
                        self._sizes[each["name"]] = each
        return self._sizes.get(machine)

    def counted(self) -> list[str]:
        """Return the network's quotas that a first `up` uses."""
        rows = _table()["network"].items()
        created = {True: self.place.ingress is not None, False: self.place.network.adopt is None}
        return [name for name, row in rows if created[row["ingress"]]]

    def network(self, name: str) -> Iterator[Answer]:
        where = f"/providers/Microsoft.Network/locations/{self.place.region}/usages"
        usages = {each["name"]["value"]: each for each in self._list(where, "networkUsages")}
        if name not in usages:
            raise CannotAsk(f"Azure lists no quota {name} here", "look in the portal (Usage + quotas)")
        needed = 0 if self._group() is not None else 1  # an earlier `up` has it
        usage = usages[name]
        fix = f"ask for more {name} in {self.place.region} in the portal (Usage + quotas)"
        yield within(needed, usage["limit"], usage["currentValue"], "", fix)

    # machines and versions

    def offered(self, machine: str, zones: AbstractSet[str]) -> Iterator[Answer]:
        size, region = self._size(machine), self.place.region
        shut = (size or {}).get("restrictions") or ()
        closed = next((each for each in shut if each.get("type") == "Location"), None)
        if size is None:
            yield problem(f"is not offered in {region}", "take another machine, or another region")
        elif closed is not None:
            fix = "ask for access in the portal (Usage + quotas, region access), or take another machine"
            yield problem(f"is not open to this subscription in {region} ({closed.get('reasonCode')})", fix)
        else:
            there = {zone for each in size.get("locationInfo") or () for zone in each.get("zones") or ()}
            there -= {zone for each in shut for zone in (each.get("restrictionInfo") or {}).get("zones") or ()}
            if missing := sorted(zones - there):
                fix = f"name zones that have it: {', '.join(sorted(there)) or 'none; take the zones out'}"
                yield problem(f"is not offered in zone {', '.join(missing)}", fix)
            else:
                yield good(f"offered in {region}, zones {', '.join(sorted(zones or there)) or 'none'}")

    def reservations(self) -> list[tuple[str, PoolRequest]]:
        return [(name, request) for name, request in self.pools.items() if request.reservation is not None]

    def reserved(self, request: PoolRequest) -> Iterator[Answer]:
        known = re.fullmatch(RESERVATION_ID, request.reservation or "") is not None
        url = f"{_MANAGEMENT}{request.reservation}?api-version={_table()['versions']['reservations']}"
        group = self._there(url) if known else None
        if group is None:
            yield problem("is not there", "az capacity reservation group list shows what is")
        elif missing := sorted(set(request.zones) - set(group.get("zones") or request.zones)):
            yield problem(f"is not in zone {', '.join(missing)}", f"write zones: {group['zones']}, or another one")
        else:
            yield good("there")

    def version(self, declared: str) -> Iterator[Answer]:
        where = f"/providers/Microsoft.ContainerService/locations/{self.place.region}/kubernetesVersions"
        listed = self.api.get(self._url(where, "kubernetes")).get("values") or ()
        plan = "AKSLongTermSupport" if self.place.cluster.extended else "KubernetesOfficial"
        offered = [each for each in listed if plan in ((each.get("capabilities") or {}).get("supportPlan") or ())]
        versions = {version for each in offered for version in (each["version"], *(each.get("patchVersions") or ()))}
        if declared in versions:
            yield good(f"offered ({plan})")
        else:
            fix = f"write one of {', '.join(sorted(each['version'] for each in offered))}, or take version out"
            yield problem(f"is not offered in {self.place.region} ({plan})", fix)

    # names

    def _there(self, url: str) -> Mapping[str, Any] | None:
        try:
            answer: Mapping[str, Any] = self.api.get(url)
        except NotFound:
            return None
        return answer

    def _group(self) -> Mapping[str, Any] | None:
        return self._there(self._url(f"/resourcegroups/{names.resource_group(self.about)}", "providers"))

    def group(self) -> Iterator[Answer]:
        group = self._group()
        yield name_of(None if group is None else group.get("tags") or {}, "ebbtide:stack", self.about.name)

    def free(self, service: str, kind: str, version: str, name: str) -> Iterator[Answer]:
        space = f"Microsoft.{service}"
        body = {"name": name, "type": f"{space}/{kind}"}
        answer = self.api.post(
            "checkNameAvailability", self._url(f"/providers/{space}/checkNameAvailability", version), body
        )
        group = names.resource_group(self.about)
        if answer.get("nameAvailable"):
            yield good("the name is free")
        elif self._there(self._url(f"/resourceGroups/{group}/providers/{space}/{kind}/{name}", version)) is not None:
            yield good("is this stack's own, from an earlier `up`")
        else:
            yield problem(f"the name is not free ({answer.get('reason')})", "give the stack another name")

    def adopted(self) -> Iterator[Answer]:
        name, group = self.place.cluster.adopt, self.place.cluster.resource_group
        where = f"/resourceGroups/{group}/providers/Microsoft.ContainerService/managedClusters/{name}"
        cluster = self._there(self._url(where, "kubernetes"))
        properties = (cluster or {}).get("properties") or {}
        power = (properties.get("powerState") or {}).get("code", "Running")
        if cluster is None:
            yield problem(f"is not in resource group {group}", "az aks list --output table shows what is")
        elif (properties.get("provisioningState"), power) != ("Succeeded", "Running"):
            yield problem(
                f"is {properties.get('provisioningState')}, {power}", "start it, or wait until it has succeeded"
            )
        else:
            yield good(f"running, Kubernetes {properties.get('currentKubernetesVersion')}")

    # certificate

    def certificate(self, resource_id: str, host: str) -> Iterator[Answer]:
        parts = re.fullmatch(CERTIFICATE_ID, resource_id)
        if parts is None:
            raise CannotAsk("its id is no certificate's")
        where = f"https://{parts['vault_name']}.vault.azure.net/certificates/{parts['name']}"
        try:
            certificate = self.vault.get(f"{where}?api-version={_table()['versions']['certificates']}")
        except NotFound:
            fix = (
                f"az keyvault certificate import --vault-name {parts['vault_name']} --name {parts['name']} --file FILE"
            )
            yield problem("is not in the vault", fix)
            return
        end, on = certificate["attributes"].get("exp"), certificate["attributes"].get("enabled", True)
        x509 = (certificate.get("policy") or {}).get("x509_props") or {}
        hosts = set((x509.get("sans") or {}).get("dns_names") or ()) | {x509.get("subject", "").removeprefix("CN=")}
        if on:
            until = None if end is None else datetime.fromtimestamp(end, UTC)
            yield checkup.certificate(hosts, until, host, self.tools.now)
        else:
            yield problem("is disabled", "enable it in the vault")


def _token(tools: Tools, subscription: str, resource: str) -> str:
    command = ("az", "account", "get-access-token", "--subscription", subscription, "--resource", resource)
    try:
        return str(json.loads(tools.run((*command, "--output", "json")))["accessToken"])
    except (ValueError, KeyError, TypeError):
        raise CannotAsk("`az account get-access-token` gives no token") from None


def _may(held: list[Mapping[str, Any]], action: str) -> bool:
    """Return whether one of the user's roles has the action: allowed, and not taken out again by the same role."""
    return any(_matches(role.get("actions"), action) and not _matches(role.get("notActions"), action) for role in held)


def _matches(patterns: list[str] | None, action: str) -> bool:
    return any(
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), action, re.IGNORECASE) for pattern in patterns or ()
    )


def _squeezed(name: str) -> str:
    """Return a quota's name as both lists have it: one writes ``Standard NCASv3_T4 Family``, the other no spaces."""
    return name.replace(" ", "").lower()
