"""What AWS can be asked before a first deploy: quotas, rights, versions, machines, names, the certificate."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import partial
from typing import Any

from components.platforms import checkup
from components.platforms.aws.api import Api, NotAllowed, Refused
from components.platforms.aws.names import IMAGES, bucket_name
from components.platforms.aws.settings import AwsSettings
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

_POLICY = "aws-deployer-policy.json"
_table = partial(checkup.facts_beside, __file__)


def checks(place: AwsSettings, pools: Mapping[str, PoolRequest], about: About, tools: Tools) -> Iterator[Check]:
    """Yield every question."""
    account, stack = _Account(place, pools, about, tools), about.name
    questions: dict[str, Callable[[], Iterator[Answer]]] = {
        "credentials": account.identity,
        "rights": account.rights,
        **{f"quota {row['name']}": partial(account.vcpus, row) for row in account.quotas()},
        **{f"quota of {machine}": _unknown_quota for machine in account.uncounted()},
        **{f"quota {row['name']}": partial(account.count, what, row) for what, row in account.counted()},
        **{f"machine {name}": partial(account.offered, name, zones) for name, zones in account.machines.items()},
        **{f"reservation {each.reservation}": partial(account.reserved, each) for each in account.reservations()},
        f"cluster {place.cluster.adopt or stack}": account.cluster,
    }
    if not place.adopted:
        questions[f"Kubernetes {place.cluster.version}"] = account.version
        questions[f"log group {account.log_group}"] = account.logs
    questions[f"bucket {account.bucket}"] = account.weights
    questions |= {f"repository {stack}/{image}": partial(account.repository, f"{stack}/{image}") for image in IMAGES}
    if place.ingress is not None:
        questions[f"certificate of {place.ingress.host}"] = partial(
            account.certificate, place.ingress.certificate, place.ingress.host
        )
    yield clock(tools, f"https://{account.api.host('sts')}/")
    yield from (Check(subject=subject, ask=ask) for subject, ask in questions.items())


class _Account:
    """The questions about one stack. Each yields its answers or raises ``CannotAsk``."""

    def __init__(self, place: AwsSettings, pools: Mapping[str, PoolRequest], about: About, tools: Tools) -> None:
        self.place, self.pools, self.tools, self.stack = place, pools, tools, about.name
        self._environment = about.environment
        self.api = Api(tools, place.region, _table()["services"])
        system = None if place.adopted else place.cluster.system_pool.machine
        self.machines = machine_zones(system, pools, place.zones)
        self.bucket, self.log_group = bucket_name(self.stack, place.account), f"/aws/eks/{self.stack}/cluster"

    def identity(self) -> Iterator[Answer]:
        try:
            answer = self.api.query("sts", "GetCallerIdentity")
        except NotSignedIn as missing:
            yield problem(missing.why, missing.fix)
            return
        account, who = answer.findtext(".//Account") or "", answer.findtext(".//Arn") or ""
        if account != self.place.account:
            fix = f"sign in to {self.place.account} (AWS_PROFILE), or correct platform.account"
            yield problem(f"are of account {account}, the stack is for {self.place.account}", fix)
        else:
            yield good(who)

    # quotas

    def quotas(self) -> list[Mapping[str, Any]]:
        """Return the quotas of vCPUs that count one of the stack's machines."""
        used = {(machine, spot) for machine, spot, _, _ in self._nodes()}
        return [row for row in _table()["machines"] if any(_counts(row, *each) for each in used)]

    def uncounted(self) -> list[str]:
        """Return the machines of which no quota is known here."""
        rows = _table()["machines"]
        return sorted({name for name, spot, _, _ in self._nodes() if not any(_counts(row, name, spot) for row in rows)})

    def counted(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield what else has a quota, for what the stack makes."""
        for what in ("networks", "addresses") if self.place.network.adopt is None else ():
            yield what, _table()["counts"][what]
        if self.place.ingress is not None:
            yield "balancers", _table()["counts"]["balancers"]

    def vcpus(self, row: Mapping[str, Any]) -> Iterator[Answer]:
        counted = [each for each in self._nodes() if _counts(row, each[0], each[1])]
        unknown = sorted({machine for machine, _, _, vcpus in counted if vcpus is None})
        sizes = self._sizes(unknown) if unknown else {}
        needed = sum(nodes * (sizes[machine] if vcpus is None else vcpus) for machine, _, nodes, vcpus in counted)
        try:
            used = self._running(row)
        except NotAllowed:
            used = None
        yield within(needed, self._limit(row), used, "vCPUs", self._raise(row, needed + (used or 0)))

    def _running(self, row: Mapping[str, Any]) -> int:
        """Return the vCPUs under a quota that run now, but those of the stack's own nodes."""
        parameters, used = {"Filter.1.Name": "instance-state-name", "MaxResults": "1000"}, 0
        parameters |= {"Filter.1.Value.1": "running", "Filter.1.Value.2": "pending"}
        while True:
            page = self.api.query("ec2", "DescribeInstances", **parameters)
            for each in page.findall("reservationSet/item/instancesSet/item"):
                tags = {tag.findtext("key"): tag.findtext("value") for tag in each.findall("tagSet/item")}
                spot = each.findtext("instanceLifecycle") == "spot"
                own = tags.get(f"kubernetes.io/cluster/{self.stack}") == "owned"
                if not own and _counts(row, each.findtext("instanceType") or "", spot):
                    cores, threads = each.findtext("cpuOptions/coreCount"), each.findtext("cpuOptions/threadsPerCore")
                    used += int(cores or 0) * int(threads or 0)
            if not (following := page.findtext("nextToken")):
                return used
            parameters["NextToken"] = following

    def count(self, what: str, row: Mapping[str, Any]) -> Iterator[Answer]:
        nat = self.place.network.nat_gateways(self._environment)
        needed = len(self.place.zones) if what == "addresses" and nat == "perZone" else 1
        if self._cluster(self.stack) is not None and self.place.cluster.adopt is None:
            needed = 0  # an earlier `up` has them
        used = {"networks": self._networks, "addresses": self._addresses, "balancers": self._balancers}[what]()
        yield within(needed, self._limit(row), used, "", self._raise(row, used + needed))

    def _networks(self) -> int:
        return len(self.api.query("ec2", "DescribeVpcs").findall("vpcSet/item"))

    def _addresses(self) -> int:
        return len(self.api.query("ec2", "DescribeAddresses").findall("addressesSet/item"))

    def _balancers(self) -> int:
        balancers = self.api.query("elasticloadbalancing", "DescribeLoadBalancers").findall(".//LoadBalancers/member")
        return sum(1 for each in balancers if each.findtext("Type") == "application")

    def _nodes(self) -> Iterator[tuple[str, bool, int, int | None]]:
        """Yield machine, spot, nodes at most and vCPUs of one; None where the catalogue does not have the machine."""
        if not self.place.adopted:
            yield self.place.cluster.system_pool.machine, False, self.place.cluster.system_pool.max, None
        for request in self.pools.values():
            if request.machine is not None and not request.capacity_block:
                yield request.machine.name, request.spot, request.pool.max_nodes, request.machine.vcpus

    def _sizes(self, machines: list[str]) -> dict[str, int]:
        named = {f"InstanceType.{index}": name for index, name in enumerate(machines, 1)}
        machine_types = self.api.query("ec2", "DescribeInstanceTypes", **named).findall("instanceTypeSet/item")
        sizes = {each.findtext("instanceType"): each.findtext("vCpuInfo/defaultVCpus") for each in machine_types}
        return {name: int(sizes.get(name) or 0) for name in machines}

    def _limit(self, row: Mapping[str, Any]) -> float:
        try:
            quota = self.api.call("servicequotas", "GetServiceQuota", ServiceCode=row["service"], QuotaCode=row["code"])
        except Refused as refused:
            if refused.code != "NoSuchResourceException":
                raise
            # an account that never had another value than the default
            action = "GetAWSDefaultServiceQuota"
            quota = self.api.call("servicequotas", action, ServiceCode=row["service"], QuotaCode=row["code"])
        return float(quota["Quota"]["Value"])

    def _raise(self, row: Mapping[str, Any], needed: float) -> str:
        arguments = f"--service-code {row['service']} --quota-code {row['code']} --desired-value {needed:g}"
        command = f"aws service-quotas request-service-quota-increase --region {self.place.region} {arguments}"
        return f"{command} (AWS may take days), or lower max"

    # machines

    def offered(self, machine: str, zones: AbstractSet[str]) -> Iterator[Answer]:
        parameters = {
            "LocationType": "availability-zone",
            "Filter.1.Name": "instance-type",
            "Filter.1.Value.1": machine,
        }
        items = self.api.query("ec2", "DescribeInstanceTypeOfferings", **parameters).findall(
            "instanceTypeOfferingSet/item"
        )
        there = {item.findtext("location") or "" for item in items}
        if missing := sorted(zones - there):
            fix = f"name zones that have it: {', '.join(sorted(there)) or 'none in this region: take another machine'}"
            yield problem(f"is not offered in {', '.join(missing)}", fix)
        else:
            yield good(f"offered in {', '.join(sorted(zones))}")

    def reservations(self) -> list[PoolRequest]:
        return [request for request in self.pools.values() if request.reservation is not None]

    def reserved(self, request: PoolRequest) -> Iterator[Answer]:
        try:
            reservation = self.api.query(
                "ec2", "DescribeCapacityReservations", **{"CapacityReservationId.1": str(request.reservation)}
            ).find("capacityReservationSet/item")
        except Refused as refused:
            if not refused.code.endswith(("NotFound", "Malformed")):
                raise
            reservation = None
        if reservation is None:
            yield problem("is not in this account and region", "aws ec2 describe-capacity-reservations lists what is")
            return
        state, machine = reservation.findtext("state"), reservation.findtext("instanceType")
        zone, expected = reservation.findtext("availabilityZone") or "", request.machine.name if request.machine else ""
        if state not in ("active", "scheduled", "pending"):
            yield problem(f"is {state}", "buy another, or take reservation out of the pool")
        elif machine != expected or (request.zones and zone not in request.zones):
            fix = f"write machine: {machine} and zones: [{zone}], or another reservation"
            yield problem(f"is for {machine} in {zone}", fix)
        else:
            yield good(f"{state}, {reservation.findtext('totalInstanceCount')} × {machine} in {zone}")

    # cluster and version

    def _cluster(self, name: str) -> Mapping[str, Any] | None:
        try:
            cluster: Mapping[str, Any] = self.api.rest("eks", "DescribeCluster", f"/clusters/{name}")["cluster"]
        except Refused as refused:
            if refused.code != "ResourceNotFoundException":
                raise
            return None
        return cluster

    def cluster(self) -> Iterator[Answer]:
        adopted, cluster = self.place.cluster.adopt, self._cluster(self.place.cluster.adopt or self.stack)
        if adopted is None:
            yield name_of(None if cluster is None else cluster.get("tags") or {}, "ebbtide:stack", self.stack)
        elif cluster is None:
            yield problem(f"is not in {self.place.region}", "aws eks list-clusters shows what is")
        else:
            mode = (cluster.get("accessConfig") or {}).get("authenticationMode", "CONFIG_MAP")
            if cluster.get("status") != "ACTIVE":
                yield problem(f"is {cluster.get('status')}", "wait until it is ACTIVE")
            elif mode not in ("API", "API_AND_CONFIG_MAP"):
                command = f"aws eks update-cluster-config --name {adopted} --access-config authenticationMode="
                yield problem(f"has authenticationMode {mode}", f"{command}API_AND_CONFIG_MAP")
            else:
                yield good(f"ACTIVE, Kubernetes {cluster.get('version')}, {mode}")

    def version(self) -> Iterator[Answer]:
        minor = self.place.cluster.version
        path = f"/cluster-versions?clusterVersions={minor}&includeAll=true"
        versions = self.api.rest("eks", "DescribeClusterVersions", path).get("clusterVersions") or [{}]
        status = versions[0].get("versionStatus") or str(versions[0].get("status", "")).upper().replace("-", "_")
        end = _day(versions[0].get("endOfStandardSupportDate"))
        if status == "STANDARD_SUPPORT":
            yield good(f"offered, standard support until {end}")
        elif status == "EXTENDED_SUPPORT" and self.place.cluster.extended:
            yield good(f"offered, extended support until {_day(versions[0].get('endOfExtendedSupportDate'))}")
        elif status == "EXTENDED_SUPPORT":
            fix = "write a newer cluster.version, or support: extended, which costs more"
            yield problem(f"has left standard support on {end}", fix)
        else:
            fix = f"aws eks describe-cluster-versions --region {self.place.region} lists what is offered"
            yield problem("is not offered by EKS any more, or not yet", fix)

    # names

    def _left_over(self, fix: str) -> Answer:
        """Return the answer for a name that is there: fine beside the stack's cluster, and in the way without it."""
        if self.place.adopted:
            return good("there; as it should be if an earlier `up` of this stack made it")
        if self._cluster(self.stack) is not None:
            return good("there, as the stack's cluster is")
        return problem("is there and the stack's cluster is not: left behind by an earlier stack of this name", fix)

    def weights(self) -> Iterator[Answer]:
        status = self.api.head("s3", f"/{self.bucket}")
        if status == 404:
            yield good("the name is free")
        elif status == 200:
            yield self._left_over("empty and delete it as docs/clouds/aws.md says, or give the stack another name")
        elif status in (301, 403):
            why = "is in another region" if status == 301 else "is another account's, or you may not read it"
            yield problem(why, "give the stack another name")
        else:
            raise CannotAsk(f"s3:HeadBucket answers {status}")

    def repository(self, name: str) -> Iterator[Answer]:
        try:
            self.api.call("ecr", "DescribeRepositories", repositoryNames=[name])
        except Refused as refused:
            if refused.code != "RepositoryNotFoundException":
                raise
            yield good("the name is free")
            return
        yield self._left_over(f"aws ecr delete-repository --force --repository-name {name}")

    def logs(self) -> Iterator[Answer]:
        groups = self.api.call("logs", "DescribeLogGroups", logGroupNamePrefix=self.log_group).get("logGroups") or []
        if any(each.get("logGroupName") == self.log_group for each in groups):
            yield self._left_over(f"aws logs delete-log-group --log-group-name {self.log_group}")
        else:
            yield good("the name is free")

    # certificate

    def certificate(self, arn: str, host: str) -> Iterator[Answer]:
        try:
            certificate = self.api.call("acm", "DescribeCertificate", CertificateArn=arn)["Certificate"]
        except Refused as refused:
            if refused.code != "ResourceNotFoundException":
                raise
            fix = f"aws acm request-certificate --region {self.place.region} --domain-name {host}, or correct the ARN"
            yield problem("is not in this account and region", fix)
            return
        if certificate.get("Status") not in ("ISSUED", "EXPIRED"):
            yield problem(f"is {certificate.get('Status')}", "validate it: ACM shows the DNS record to make")
            return
        names = [certificate.get("DomainName"), *(certificate.get("SubjectAlternativeNames") or [])]
        end = certificate.get("NotAfter")
        until = None if end is None else datetime.fromtimestamp(end, UTC)
        yield checkup.certificate(names, until, host, self.tools.now)

    # rights

    def rights(self) -> Iterator[Answer]:
        who = self._principal(self.api.query("sts", "GetCallerIdentity").findtext(".//Arn") or "")
        missing: list[str] = []
        for statement in self._statements():
            missing += self._denied(who, statement)
        if missing:
            fix = f"give {who} the policy of docs/clouds/{_POLICY}"
            yield problem(f"{len(missing)} rights are missing: {', '.join(sorted(missing))}", fix)
        else:
            yield good(f"{who} has those of docs/clouds/{_POLICY} (simulated)")

    def _principal(self, arn: str) -> str:
        """Return the ARN that policies are attached to. A session's names its role without the path."""
        session = re.fullmatch(r"arn:[^:]+:sts::[0-9]+:assumed-role/([^/]+)/.+", arn)
        if session is not None:
            return self.api.query("iam", "GetRole", RoleName=session[1]).findtext(".//Role/Arn") or ""
        if arn.endswith(":root"):
            raise CannotAsk("the account's root may do anything and cannot be simulated", "deploy as a role instead")
        return arn

    def _statements(self) -> Iterator[Mapping[str, Any]]:
        text = (self.tools.documents / _POLICY).read_text(encoding="utf-8")
        for word, value in (("REGION", self.place.region), ("ACCOUNT", self.place.account), ("STACK", self.stack)):
            text = re.sub(rf"\b{word}\b", value, text)
        without = {"KarpenterNotices"} if self.place.node_provisioning == "managed" else set()
        without |= {"EndpointNames"} if not self.place.network.private_endpoints else set()
        yield from (each for each in json.loads(text)["Statement"] if each["Sid"] not in without)

    def _denied(self, who: str, statement: Mapping[str, Any]) -> Iterator[str]:
        resource = statement["Resource"] if isinstance(statement["Resource"], str) else statement["Resource"][0]
        parameters = {"PolicySourceArn": who}
        instead = _table()["instead"]
        actions = [name for action in statement["Action"] for name in instead.get(action, [action])]
        parameters |= {f"ActionNames.member.{index}": name for index, name in enumerate(actions, 1)}
        if resource != "*":
            parameters["ResourceArns.member.1"] = resource.replace("*", "any")
        keys = [pair for each in statement.get("Condition", {}).values() for pair in each.items()]
        for index, (key, values) in enumerate(keys, 1):
            entry = f"ContextEntries.member.{index}"
            first = values if isinstance(values, str) else values[0]
            parameters |= {f"{entry}.ContextKeyName": key, f"{entry}.ContextKeyType": "string"}
            parameters[f"{entry}.ContextKeyValues.member.1"] = first
        try:
            results = self.api.query("iam", "SimulatePrincipalPolicy", **parameters).findall(
                ".//EvaluationResults/member"
            )
        except NotAllowed as refused:
            raise CannotAsk(refused.why, f"allow it, or compare with docs/clouds/{_POLICY} yourself") from None
        for each in results:
            if each.findtext("EvalDecision") != "allowed":
                yield each.findtext("EvalActionName") or "?"


def _unknown_quota() -> Iterator[Answer]:
    raise CannotAsk("which quota counts it is not known here", "look in Service Quotas, Amazon EC2")


def _counts(row: Mapping[str, Any], machine: str, spot: bool) -> bool:
    return row["spot"] is spot and re.match(row["begins"], machine) is not None


def _day(seconds: float | None) -> str:
    return "an unknown day" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
