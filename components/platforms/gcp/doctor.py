"""What Google Cloud can be asked before a first deploy: quotas, rights, APIs, versions, machines, names, the
certificate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import partial
from typing import Any

from components.platforms import checkup
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
from components.platforms.gcp.names import bucket_name, fitted, labels
from components.platforms.gcp.settings import MANAGED, GcpSettings
from components.platforms.gcp.tables import accelerator_of, family
from components.typed.tables import read_table

_ROLE = "gcp-deployer-role.yaml"
_LOGIN = "gcloud auth application-default login"
_FAMILY = "GPUS_PER_GPU_FAMILY, gpu_family "
_MOST_PERMISSIONS = 100
_PROJECTS = "https://cloudresourcemanager.googleapis.com/v1/projects"
_table = partial(checkup.facts_beside, __file__)


def checks(place: GcpSettings, pools: Mapping[str, PoolRequest], about: About, tools: Tools) -> Iterator[Check]:
    """Yield every question."""
    project = _Project(place, pools, about, tools)
    name = place.cluster.adopt or fitted(about.name, 40)
    questions: dict[str, Callable[[], Iterator[Answer]]] = {
        "credentials": project.identity,
        "rights": project.rights,
        "APIs": project.apis,
        **{f"quota {metric}": partial(project.gpus, metric, needed) for metric, needed in project.quotas().items()},
        **({"quota of system nodes": project.system} if place.cluster.adopt is None else {}),
        **{f"quota of pool {name}": _flex_start_quota for name in place.flex_start},
        **{f"quota {metric}": partial(project.count, metric) for metric in project.counted()},
        **{
            f"machine {machine}": partial(project.offered, machine, zones)
            for machine, zones in project.machines.items()
        },
        **{f"reservation {each.reservation}": partial(project.reserved, each) for each in project.reservations()},
        f"cluster {name}": partial(project.cluster, name),
        f"bucket {bucket_name(about.name, place.project)}": project.bucket,
        f"repository {fitted(about.name, 63)}": project.repository,
    }
    if place.cluster.adopt is None and place.cluster.version is not None:
        questions[f"Kubernetes {place.cluster.version}"] = partial(project.version, place.cluster.version)
    if place.ingress is not None:
        questions[f"certificate of {place.ingress.host}"] = project.certificate
    yield clock(tools, "https://compute.googleapis.com/")
    yield from (Check(subject=subject, ask=ask) for subject, ask in questions.items())


class _Project:
    """The questions about one stack. Each yields its answers or raises ``CannotAsk``."""

    def __init__(self, place: GcpSettings, pools: Mapping[str, PoolRequest], about: About, tools: Tools) -> None:
        self.place, self.pools, self.about, self.tools = place, pools, about, tools
        system = place.cluster.system_pool.machine if place.cluster.adopt is None else None
        self.machines = machine_zones(system, pools, place.network.zones)
        headers = {"x-goog-user-project": place.project}
        self.api = Bearer(tools, partial(_token, tools), _LOGIN, (".googleapis.com",), headers, _switched_off)
        self._compute = f"https://compute.googleapis.com/compute/v1/projects/{place.project}"
        self._location = f"projects/{place.project}/locations/{place.region}"

    def identity(self) -> Iterator[Answer]:
        at, fix = (
            f"{_PROJECTS}/{self.place.project}",
            f"{_LOGIN} as somebody of that project, or correct platform.project",
        )
        try:
            project = self.api.get(at)
        except NotSignedIn as missing:
            yield problem(missing.why, missing.fix)
        except (NotAllowed, NotFound):
            yield problem(f"do not see the project {self.place.project}", fix)
        else:
            state = project.get("lifecycleState")
            yield good(f"see {self.place.project}") if state == "ACTIVE" else problem(f"the project is {state}", fix)

    # rights and APIs

    def rights(self) -> Iterator[Answer]:
        role = read_table(self.tools.documents / _ROLE)["includedPermissions"]
        needed, held = [*role, *_table()["besides"]], set[str]()
        for first in range(0, len(needed), _MOST_PERMISSIONS):
            body = {"permissions": needed[first : first + _MOST_PERMISSIONS]}
            url = f"{_PROJECTS}/{self.place.project}:testIamPermissions"
            held |= set(self.api.post("testIamPermissions", url, body).get("permissions") or ())
        if missing := sorted(set(needed) - held):
            fix = f"give the role of docs/clouds/{_ROLE}, and roles/container.admin"
            yield problem(f"{len(missing)} permissions are missing: {', '.join(missing)}", fix)
        else:
            yield good(f"those of docs/clouds/{_ROLE} and of roles/container.admin (tested on the project)")

    def apis(self) -> Iterator[Answer]:
        needed = [*_table()["apis"], *([_table()["imageStreamingApi"]] if self.place.image_streaming else [])]
        query = "&".join(f"names=projects/{self.place.project}/services/{name}" for name in needed)
        url = f"https://serviceusage.googleapis.com/v1/projects/{self.place.project}/services:batchGet?{query}"
        services = self.api.get(url).get("services") or ()
        on = {each["name"].rpartition("/")[2] for each in services if each.get("state") == "ENABLED"}
        if missing := [name for name in needed if name not in on]:
            fix = f"gcloud services enable --project={self.place.project} {' '.join(missing)}"
            yield problem(f"{len(missing)} are not enabled", fix)
        else:
            yield good("enabled")

    # quotas

    def quotas(self) -> dict[str, float]:
        """Return the GPUs that the stack needs at most, by quota."""
        needed: dict[str, float] = {}
        for name, request in self.pools.items():
            gpu = accelerator_of(request.machine.name) if request.machine is not None else None
            if gpu is not None and request.machine is not None and name not in self.place.flex_start:
                spot = "PREEMPTIBLE_" if request.spot else ""
                count = request.pool.max_nodes * request.machine.gpus
                for metric in (f"{spot}{gpu.quota}", "GPUS_ALL_REGIONS"):
                    needed[metric] = needed.get(metric, 0) + count
        return needed

    def gpus(self, metric: str, needed: float) -> Iterator[Answer]:
        fix = f"ask for {needed:g} in the console: IAM, Quotas, {metric} in {self.place.region}; or lower max"
        if metric.startswith(_FAMILY):
            yield within(needed, self._of_family(metric.removeprefix(_FAMILY)), None, "GPUs", fix)
        elif metric.startswith(f"PREEMPTIBLE_{_FAMILY}"):
            raise CannotAsk("under which id this family's spot quota stands is not known here", "look in the console")
        else:
            at = self._compute if metric == "GPUS_ALL_REGIONS" else f"{self._compute}/regions/{self.place.region}"
            yield self._room(at, metric, needed, fix)

    def system(self) -> Iterator[Answer]:
        """Yield whether nodes without a GPU can have their CPUs: E2 and N1 share a quota, others have their own."""
        pool, region = self.place.cluster.system_pool, f"{self._compute}/regions/{self.place.region}"
        zones = [url.rpartition("/")[2] for url in self.api.get(region).get("zones") or ()]
        zone = (*self.place.network.zones, *zones)[0]
        machine = self._there(f"{self._compute}/zones/{zone}/machineTypes/{pool.machine}")
        if machine is None:
            raise CannotAsk(f"{pool.machine} is not offered in {zone}")
        series = pool.machine.partition("-")[0].upper()
        metric = "CPUS" if series in ("E2", "N1") else f"{series}_CPUS"
        fix = f"ask for more {metric} in {self.place.region} in the console: IAM, Quotas; or lower systemPool.max"
        yield self._room(region, metric, pool.max * machine["guestCpus"], fix)

    def _room(self, at: str, metric: str, needed: float, fix: str) -> Answer:
        quotas = {each["metric"]: each for each in self.api.get(at).get("quotas") or ()}
        if metric not in quotas:
            raise CannotAsk(f"Compute Engine lists no quota {metric} here", "look in the console")
        return within(needed, quotas[metric]["limit"], quotas[metric].get("usage", 0), "", fix)

    def _of_family(self, gpu: str) -> float:
        at = f"projects/{self.place.project}/locations/global/services/compute.googleapis.com/quotaInfos"
        quota = self.api.get(f"https://cloudquotas.googleapis.com/v1/{at}/{_table()['familyQuota']}")
        here = [
            each
            for each in quota.get("dimensionsInfos") or ()
            if self.place.region in (each.get("applicableLocations") or ())
            and each.get("dimensions", {}).get("gpu_family", gpu) == gpu
        ]
        # the most particular one counts
        here.sort(key=lambda each: len(each.get("dimensions") or {}))
        return float(here[-1].get("details", {}).get("value", 0)) if here else 0.0

    def counted(self) -> list[str]:
        """Return the project's other quotas that a first `up` uses."""
        rows = _table()["counts"].items()
        return [metric for metric, row in rows if self._uses(row)] if self.place.cluster.adopt is None else []

    def _uses(self, row: Mapping[str, Any]) -> bool:
        return self.place.ingress is not None if row["ingress"] else self.place.network.adopt is None

    def count(self, metric: str) -> Iterator[Answer]:
        there = self._cluster(fitted(self.about.name, 40)) is not None  # then an earlier `up` has them
        needed = 0 if there else _table()["counts"][metric]["needed"]
        yield self._room(self._compute, metric, needed, f"ask for more {metric} in the console: IAM, Quotas")

    # machines and versions

    def offered(self, machine: str, zones: AbstractSet[str]) -> Iterator[Answer]:
        region = self.api.get(f"{self._compute}/regions/{self.place.region}").get("zones") or ()
        everywhere = sorted(url.rpartition("/")[2] for url in region)
        there = [zone for zone in everywhere if self._in_zone(machine, zone)]
        missing = sorted(zones - set(there))
        if missing or not there:
            fix = f"name zones that have it: {', '.join(there) or 'none in this region: take another machine'}"
            yield problem(f"is not offered in {', '.join(missing) or self.place.region}", fix)
        else:
            yield good(f"offered in {', '.join(sorted(zones) or there)}")

    def _in_zone(self, machine: str, zone: str) -> bool:
        kinds = [f"machineTypes/{machine}"]
        gpu = accelerator_of(machine)
        if gpu is not None and family(machine).startswith("n1"):  # other families bring their GPU along
            kinds.append(f"acceleratorTypes/{gpu.type}")
        try:
            for kind in kinds:
                self.api.get(f"{self._compute}/zones/{zone}/{kind}")
        except NotFound:
            return False
        return True

    def reservations(self) -> list[PoolRequest]:
        return [request for request in self.pools.values() if request.reservation is not None]

    def reserved(self, request: PoolRequest) -> Iterator[Answer]:
        name, machine = str(request.reservation), request.machine.name if request.machine else ""
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name):
            raise CannotAsk("it is another project's, or a block of one", "gcloud compute reservations describe")
        zone = request.zones[0]
        reservation = self._there(f"{self._compute}/zones/{zone}/reservations/{name}")
        reserved_machine = (
            (reservation or {}).get("specificReservation", {}).get("instanceProperties", {}).get("machineType")
        )
        if reservation is None:
            yield problem(f"is not in {zone}", "gcloud compute reservations list shows what is")
        elif reservation.get("status") != "READY":
            yield problem(f"is {reservation.get('status')}", "wait until it is READY, or name another one")
        elif reserved_machine not in (None, machine):
            yield problem(f"is for {reserved_machine}", f"write machine: {reserved_machine}, or name another one")
        else:
            yield good(f"READY in {zone}")

    def version(self, declared: str) -> Iterator[Answer]:
        channel = self.place.cluster.release_channel
        server_config = self.api.get(f"https://container.googleapis.com/v1/{self._location}/serverConfig")
        offered = [
            version
            for each in server_config.get("channels") or ()
            if each.get("channel") == channel
            for version in each.get("validVersions") or ()
        ]
        if any(version == declared or version.startswith((f"{declared}.", f"{declared}-")) for version in offered):
            yield good(f"offered in {channel}")
        else:
            minors = sorted({".".join(version.split(".")[:2]) for version in offered})
            fix = f"write one of {', '.join(minors) or 'another channel'}, or take version out: the channel's default"
            yield problem(f"is not offered in {channel} in {self.place.region}", fix)

    # names

    def _cluster(self, name: str) -> Mapping[str, Any] | None:
        return self._there(f"https://container.googleapis.com/v1/{self._location}/clusters/{name}")

    def _there(self, url: str) -> Mapping[str, Any] | None:
        try:
            answer: Mapping[str, Any] = self.api.get(url)
        except NotFound:
            return None
        return answer

    def cluster(self, name: str) -> Iterator[Answer]:
        cluster = self._cluster(name)
        if self.place.cluster.adopt is None:
            yield self._free(None if cluster is None else cluster.get("resourceLabels") or {})
        elif cluster is None:
            yield problem(f"is not in {self.place.region}", "gcloud container clusters list shows what is")
        elif cluster.get("status") != "RUNNING":
            yield problem(f"is {cluster.get('status')}", "wait until it is RUNNING")
        elif not cluster.get("workloadIdentityConfig"):
            yield problem("has no Workload Identity", "switch it on with --workload-pool, or adopt another")
        else:
            yield good(f"RUNNING, Kubernetes {cluster.get('currentMasterVersion')}")

    def _free(self, tags: Mapping[str, str] | None) -> Answer:
        return name_of(tags, "ebbtide-stack", labels(self.about)["ebbtide-stack"])

    def bucket(self) -> Iterator[Answer]:
        name = bucket_name(self.about.name, self.place.project)
        try:
            bucket = self._there(f"https://storage.googleapis.com/storage/v1/b/{name}")
        except NotAllowed:
            yield problem("is another project's, or you may not read it", "give the stack another name")
            return
        yield self._free(None if bucket is None else bucket.get("labels") or {})

    def repository(self) -> Iterator[Answer]:
        at = f"{self._location}/repositories/{fitted(self.about.name, 63)}"
        repository = self._there(f"https://artifactregistry.googleapis.com/v1/{at}")
        yield self._free(None if repository is None else repository.get("labels") or {})

    # certificate

    def certificate(self) -> Iterator[Answer]:
        ingress = self.place.ingress
        if ingress is None or ingress.certificate in (None, MANAGED):
            yield good("Google makes it once the name points at the address")
            return
        where = "global" if ingress.public else f"regions/{self.place.region}"
        certificate = self._there(f"{self._compute}/{where}/sslCertificates/{ingress.certificate}")
        if certificate is None:
            at = "--global" if ingress.public else f"--region={self.place.region}"
            command = f"gcloud compute ssl-certificates create {ingress.certificate} {at}"
            fix = f"{command} --certificate=FILE --private-key=FILE"
            yield problem(f"{ingress.certificate} is not in {where}", fix)
            return
        names, end = set(certificate.get("subjectAlternativeNames") or ()), certificate.get("expireTime")
        names |= set((certificate.get("managed") or {}).get("domains") or ())
        until = datetime.fromisoformat(end) if end else None
        yield checkup.certificate(names, until, ingress.host, self.tools.now)


def _flex_start_quota() -> Iterator[Answer]:
    raise CannotAsk("which quota counts nodes of flex-start is not known here", "look in the console: IAM, Quotas")


def _token(tools: Tools) -> str:
    """Return the environment's token, else that of the credentials which Pulumi takes, else gcloud's own."""
    if tools.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN"):
        return tools.environ["GOOGLE_OAUTH_ACCESS_TOKEN"]
    try:
        return tools.run(("gcloud", "auth", "application-default", "print-access-token"))
    except CannotAsk:
        return tools.run(("gcloud", "auth", "print-access-token"))


def _switched_off(error: Any) -> CannotAsk | None:
    details = error.get("error", {}).get("details") or ()
    for each in details:
        if each.get("reason") == "SERVICE_DISABLED":
            service = (each.get("metadata") or {}).get("service", "the service")
            return CannotAsk(f"{service} is not enabled in the project", f"gcloud services enable {service}")
    return None
