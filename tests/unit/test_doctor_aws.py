"""``ebbtide doctor`` against a simulated AWS: every fault is shown with its fix, and nothing is ever written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from components.platforms.aws.api import Credentials, sign
from infra.commands import doctor
from infra.commands.options import DoctorOptions
from infra.lock.pins import Pin, image_name
from tests.unit.doctor_kit import NOW, PROJECT, Simulated, problems, report, stack, unknown

SECRET, TOKEN = "q7" * 20, "sess-" + "Zk" * 30
KEYS = json.dumps({"Version": 1, "AccessKeyId": "AKID", "SecretAccessKey": SECRET, "SessionToken": TOKEN})
ACCOUNT, STACK = "123456789012", "ebbtide-aws-dev"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/deployer"
DAY = 86400
MANIFEST, KIND = b"{}", "application/vnd.oci.image.index.v1+json"
DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
# what a right to read is called, in the services that are asked
READS = re.compile(r"(Describe|Get|List|Simulate|Head)\w+")


@dataclass
class Aws:
    """An account that is ready for its first stack, unless a test says otherwise."""

    account: str = ACCOUNT
    quotas: dict[str, float] = field(default_factory=lambda: {"L-0263D0A3": 5.0, "L-F678F1CE": 5.0})
    zones: tuple[str, ...] = ("us-east-1a", "us-east-1b")
    versions: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"clusterVersion": "1.35", "versionStatus": "STANDARD_SUPPORT", "endOfStandardSupportDate": 1806105600}
        ]
    )
    cluster: dict[str, Any] | None = None
    bucket: int = 404
    repositories: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    vpcs: int = 1
    certificate: dict[str, Any] = field(
        default_factory=lambda: {
            "DomainName": "*.example.com",
            "Status": "ISSUED",
            "NotAfter": NOW.timestamp() + 90 * DAY,
        }
    )
    denied: tuple[str, ...] = ()
    forbidden: str = ""
    broken: str = ""
    image: int = 200
    reservation: str | None = None
    instances: tuple[tuple[str, bool, str], ...] = ()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        host, body = request.url.host, request.content.decode()
        if host == "registry-1.docker.io":
            return httpx.Response(self.image, content=MANIFEST, headers={"content-type": KIND})
        service = host.split(".")[0] if not host.startswith("api.ecr") else "ecr"
        action = called(request)
        if request.method == "HEAD" and service == "sts":
            return httpx.Response(302)
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/20261130/us-east-1/")
        assert request.headers["x-amz-security-token"] == TOKEN
        if action == self.broken:
            raise httpx.ReadTimeout("no answer")
        if action == self.forbidden:
            return self._forbidden(service)
        return getattr(self, f"_{service}")(request, action, body)  # type: ignore[no-any-return]

    def _forbidden(self, service: str) -> httpx.Response:
        if service in ("ec2", "iam", "sts", "elasticloadbalancing"):
            return xml("<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></Response>", 403)
        return httpx.Response(400, json={"__type": "com.amazon.coral.service#AccessDeniedException"})

    def _sts(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        arn = f"arn:aws:sts::{self.account}:assumed-role/deployer/me"
        identity = f"<Arn>{arn}</Arn><Account>{self.account}</Account>"
        return xml(f"<R xmlns='urn:sts'><GetCallerIdentityResult>{identity}</GetCallerIdentityResult></R>")

    def _iam(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        if action == "GetRole":
            return xml(f"<R><GetRoleResult><Role><Arn>{ROLE}</Arn></Role></GetRoleResult></R>")
        asked = parse_qs(body)
        assert asked["PolicySourceArn"] == [ROLE]
        names = [value[0] for key, value in asked.items() if key.startswith("ActionNames.member.")]
        assert names
        assert not [name for name in names if "*" in name], "the service refuses wildcards"
        decided = "".join(
            f"<member><EvalActionName>{name}</EvalActionName>"
            f"<EvalDecision>{'implicitDeny' if name in self.denied else 'allowed'}</EvalDecision></member>"
            for name in names
        )
        return xml(f"<R><S><EvaluationResults>{decided}</EvaluationResults></S></R>")

    def _ec2(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        asked = parse_qs(body)
        if action == "DescribeInstanceTypeOfferings":
            machine = asked["Filter.1.Value.1"][0]
            items = "".join(
                f"<item><instanceType>{machine}</instanceType><location>{zone}</location></item>"
                for zone in (self.zones if machine.startswith("g5") else ("us-east-1a", "us-east-1b"))
            )
            return xml(f"<R xmlns='urn:ec2'><instanceTypeOfferingSet>{items}</instanceTypeOfferingSet></R>")
        if action == "DescribeInstanceTypes":
            item = (
                "<item><instanceType>m7i.large</instanceType><vCpuInfo><defaultVCpus>2</defaultVCpus></vCpuInfo></item>"
            )
            return xml(f"<R><instanceTypeSet>{item}</instanceTypeSet></R>")
        if action == "DescribeInstances":
            page = "" if "NextToken" in asked else "<nextToken>2</nextToken>"
            items = "".join(instance(*each) for each in (() if page else self.instances))
            reservations = f"<reservationSet><item><instancesSet>{items}</instancesSet></item></reservationSet>"
            return xml(f"<R>{reservations}{page}</R>")
        if action == "DescribeVpcs":
            return xml(f"<R><vpcSet>{'<item/>' * self.vpcs}</vpcSet></R>")
        if action == "DescribeAddresses":
            return xml("<R><addressesSet/></R>")
        if action == "DescribeCapacityReservations":
            if self.reservation is None:
                code = "InvalidCapacityReservationId.NotFound"
                return xml(f"<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>", 400)
            return xml(f"<R><capacityReservationSet><item>{self.reservation}</item></capacityReservationSet></R>")
        raise AssertionError(action)

    def _elasticloadbalancing(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        member = "<member><Type>application</Type></member><member><Type>network</Type></member>"
        return xml(f"<R><D><LoadBalancers>{member}</LoadBalancers></D></R>")

    def _servicequotas(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        code = json.loads(body)["QuotaCode"]
        if action == "GetServiceQuota" and code == "L-53DA6B97":  # never changed: only the default is known
            return httpx.Response(400, json={"__type": "NoSuchResourceException"})
        return httpx.Response(200, json={"Quota": {"QuotaCode": code, "Value": self.quotas.get(code, 64.0)}})

    def _eks(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        if request.url.path == "/cluster-versions":
            assert dict(request.url.params) == {"clusterVersions": "1.35", "includeAll": "true"}
            return httpx.Response(200, json={"clusterVersions": self.versions})
        if self.cluster is None:
            return httpx.Response(404, json={}, headers={"x-amzn-errortype": "ResourceNotFoundException:http://x"})
        return httpx.Response(200, json={"cluster": self.cluster})

    def _ecr(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        [name] = json.loads(body)["repositoryNames"]
        if name not in self.repositories:
            return httpx.Response(400, json={"__type": "RepositoryNotFoundException"})
        return httpx.Response(200, json={"repositories": [{"repositoryName": name}]})

    def _logs(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        return httpx.Response(200, json={"logGroups": [{"logGroupName": each} for each in self.groups]})

    def _s3(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        assert request.url.path == f"/{STACK}-models-{ACCOUNT}"
        return httpx.Response(self.bucket)

    def _acm(self, request: httpx.Request, action: str, body: str) -> httpx.Response:
        if not self.certificate:
            return httpx.Response(400, json={"__type": "ResourceNotFoundException"})
        return httpx.Response(200, json={"Certificate": self.certificate})


def instance(machine: str, spot: bool, cluster: str) -> str:
    """A running instance with 32 vCPUs."""
    tag = f"<tagSet><item><key>kubernetes.io/cluster/{cluster}</key><value>owned</value></item></tagSet>"
    options = "<cpuOptions><coreCount>16</coreCount><threadsPerCore>2</threadsPerCore></cpuOptions>"
    lifecycle = "<instanceLifecycle>spot</instanceLifecycle>" if spot else ""
    return f"<item><instanceType>{machine}</instanceType>{lifecycle}{options}{tag}</item>"


def xml(text: str, status: int = 200) -> httpx.Response:
    return httpx.Response(status, text=text)


def called(request: httpx.Request) -> str:
    """The action of a request, whichever of AWS's protocols it is written in."""
    if "x-amz-target" in request.headers:
        return request.headers["x-amz-target"].rpartition(".")[2]
    if request.method == "POST":
        return parse_qs(request.content.decode())["Action"][0]
    return f"{request.method.title()}{request.url.path}"


@pytest.fixture(autouse=True)
def _one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_name(f"docker.io/vllm/vllm-openai:v0.32.0@{DIGEST}")
    monkeypatch.setattr(doctor, "pins", lambda project: [Pin(PROJECT / "Dockerfile", 1, image)])


def simulated(aws: Aws) -> Simulated:
    return Simulated(aws, programs={"aws configure export-credentials": KEYS})


DEV = stack("aws-dev")


def test_signatures_are_those_that_aws_publishes() -> None:
    keys = Credentials(key="AKIDEXAMPLE", secret="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    day = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    plain = sign("GET", "https://example.amazonaws.com/", {}, b"", keys, ("us-east-1", "service"), day)
    assert plain["authorization"].endswith("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
    url, kind = "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", "application/x-www-form-urlencoded"
    headers = {"Content-Type": f"{kind}; charset=utf-8"}
    users = sign("GET", url, headers, b"", keys, ("us-east-1", "iam"), day)
    assert users["authorization"].endswith("5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")


def test_an_account_that_is_ready_has_no_problem_and_every_call_only_reads() -> None:
    place = simulated(Aws())
    lines = report(place, DEV, "aws-dev")
    assert {subject: each for subject, each in lines.items() if each.outcome != "ok"} == {}
    assert place.ran == ["aws configure export-credentials --format process"]
    assert {subject.split()[0] for subject in lines} == {
        *("clock", "credentials", "rights", "quota", "machine", "cluster", "Kubernetes", "log", "bucket"),
        *("repository", "certificate", "image"),
    }
    for request in place.asked:
        assert request.method in ("GET", "HEAD") or READS.fullmatch(called(request)), called(request)
    assert {called(request) for request in place.asked if request.method == "POST"} == {
        *("GetCallerIdentity", "GetRole", "SimulatePrincipalPolicy", "GetServiceQuota", "GetAWSDefaultServiceQuota"),
        *("DescribeInstanceTypes", "DescribeInstanceTypeOfferings", "DescribeVpcs", "DescribeAddresses"),
        *(
            "DescribeInstances",
            "DescribeLoadBalancers",
            "DescribeRepositories",
            "DescribeLogGroups",
            "DescribeCertificate",
        ),
    }


@pytest.mark.parametrize("action", ["CreateBucket", "DeleteCluster", "PutImage", "RunInstances", "UpdateX", ""])
def test_a_call_that_may_write_cannot_be_made(action: str) -> None:
    place = simulated(Aws())
    with pytest.raises(ValueError, match="may write"):
        place.tools().post(action, "https://ec2.us-east-1.amazonaws.com/", {}, b"")
    with pytest.raises(ValueError, match="may write"):
        place.tools().get("https://s3.us-east-1.amazonaws.com/", method="PUT")
    assert place.asked == []


SPOT, BUCKET = "quota All G and VT Spot Instance Requests", f"bucket {STACK}-models-{ACCOUNT}"
CERTIFICATE, CLUSTER = "certificate of llm-dev.example.com", f"cluster {STACK}"
OWN = {"status": "ACTIVE", "tags": {"ebbtide:stack": STACK}}


@pytest.mark.parametrize(
    ("aws", "subject", "says"),
    [
        (
            Aws(quotas={"L-3819A6DF": 0.0}),
            SPOT,
            r"0 vCPUs, 0 in use.*needs up to 32; fix: .*L-3819A6DF --desired-value 32",
        ),
        (
            Aws(quotas={"L-1216C47A": 5.0}),
            "quota Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
            "up to 6",
        ),
        (Aws(vpcs=5), "quota VPCs per Region", r"5 in use.*--desired-value 6"),
        (Aws(zones=("us-east-1a",)), "machine g5.8xlarge", r"not offered in us-east-1b; fix: .*us-east-1a"),
        (Aws(versions=[{"versionStatus": "UNSUPPORTED"}]), "Kubernetes 1.35", "not offered.*describe-cluster-versions"),
        (Aws(versions=[]), "Kubernetes 1.35", "not offered"),
        (
            Aws(versions=[{"versionStatus": "EXTENDED_SUPPORT", "endOfStandardSupportDate": 0}]),
            "Kubernetes 1.35",
            "extended",
        ),
        (Aws(bucket=403), BUCKET, "another account's"),
        (Aws(bucket=200), BUCKET, "left behind"),
        (Aws(repositories=(f"{STACK}/vllm",)), f"repository {STACK}/vllm", "delete-repository"),
        (Aws(groups=(f"/aws/eks/{STACK}/cluster",)), f"log group /aws/eks/{STACK}/cluster", "delete-log-group"),
        (Aws(cluster={"status": "ACTIVE", "tags": {}}), CLUSTER, "something else has the name"),
        (Aws(certificate={}), CERTIFICATE, "not in this account and region"),
        (
            Aws(certificate={"Status": "ISSUED", "NotAfter": NOW.timestamp() - DAY}),
            CERTIFICATE,
            "expired on 2026-11-29",
        ),
        (Aws(certificate={"Status": "PENDING_VALIDATION"}), CERTIFICATE, "PENDING_VALIDATION.*DNS"),
        (Aws(certificate={"Status": "ISSUED", "DomainName": "*.example.org"}), CERTIFICATE, r"is for \*.example.org"),
        (
            Aws(denied=("eks:CreateCluster", "iam:PassRole")),
            "rights",
            "2 rights are missing: eks:CreateCluster, iam:Pass",
        ),
        (Aws(account="210987654321"), "credentials", "of account 210987654321, the stack is for 123456789012"),
        (Aws(image=404), "image docker.io/vllm/vllm-openai:v0.32.0", f"{DIGEST} is not in the registry any more"),
    ],
)
def test_every_fault_is_shown_with_its_fix(aws: Aws, subject: str, says: str) -> None:
    lines = problems(report(simulated(aws), DEV, "aws-dev"))
    assert list(lines) == [subject]
    assert re.search(says, lines[subject])
    assert not lines[subject].endswith("fix: ")


def test_what_an_earlier_up_made_is_no_problem() -> None:
    aws = Aws(cluster=OWN, bucket=200, repositories=tuple(f"{STACK}/{each}" for each in ("vllm", "gateway", "mirror")))
    aws.groups, aws.vpcs = (f"/aws/eks/{STACK}/cluster",), 5
    assert problems(report(simulated(aws), DEV, "aws-dev")) == {}


def test_what_others_run_is_taken_off_a_quota_and_the_stacks_own_nodes_are_not() -> None:
    others = (("g6.8xlarge", True, "other"), ("g5.8xlarge", True, STACK), ("g5.8xlarge", False, "other"))
    aws = Aws(instances=others, quotas={"L-3819A6DF": 63.0})
    lines = problems(report(simulated(aws), DEV, "aws-dev"))
    assert list(lines) == [SPOT]
    assert "63 vCPUs, 32 in use; the stack needs up to 32" in lines[SPOT]
    assert "--desired-value 64" in lines[SPOT]
    blind = report(simulated(Aws(forbidden="DescribeInstances")), DEV, "aws-dev")
    assert "of which others may use some" in blind[SPOT].text


def test_a_machine_whose_quota_is_not_known_is_said() -> None:
    [(name, pool)] = DEV.pools.items()
    other = pool.model_copy(update={"machine": "p6-b200.48xlarge", "capacity": "spot"})
    lines = report(simulated(Aws()), DEV.model_copy(update={"pools": {name: other}}), "aws-dev")
    assert "not known here" in unknown(lines)["quota of p6-b200.48xlarge"]


RESERVED = "<state>{}</state><instanceType>{}</instanceType><availabilityZone>us-east-1a</availabilityZone>"


@pytest.mark.parametrize(
    ("reservation", "outcome", "says"),
    [
        (RESERVED.format("active", "g5.8xlarge"), "ok", "active"),
        (RESERVED.format("expired", "g5.8xlarge"), "problem", "is expired"),
        (RESERVED.format("active", "p5.48xlarge"), "problem", "is for p5.48xlarge in us-east-1a"),
        (None, "problem", "is not in this account and region"),
    ],
)
def test_a_reservation_is_there_and_for_the_pools_machine(reservation: str | None, outcome: str, says: str) -> None:
    [(name, pool)] = DEV.pools.items()
    update = {"reservation": "cr-0123456789abcdef0", "capacity": "onDemand", "zones": ("us-east-1a",)}
    reserved = DEV.model_copy(update={"pools": {name: pool.model_copy(update=update)}})
    answer = report(simulated(Aws(reservation=reservation)), reserved, "aws-dev")["reservation cr-0123456789abcdef0"]
    assert (answer.outcome, says in answer.text) == (outcome, True)


@pytest.mark.parametrize(
    ("cluster", "says"),
    [
        (None, "is not in us-east-1"),
        ({"status": "CREATING", "accessConfig": {"authenticationMode": "API"}}, "is CREATING"),
        ({"status": "ACTIVE"}, "authenticationMode CONFIG_MAP; fix: aws eks update-cluster-config --name ours"),
    ],
)
def test_a_cluster_to_adopt_must_be_ready_for_it(cluster: dict[str, Any] | None, says: str) -> None:
    adopted = stack("aws-dev", cluster=DEV.platform.cluster.model_copy(update={"adopt": "ours"}))
    assert says in problems(report(simulated(Aws(cluster=cluster)), adopted, "aws-dev"))["cluster ours"]


def test_a_clock_that_is_wrong_is_said() -> None:
    place = simulated(Aws())
    place.ahead = 600
    assert "600 s ahead" in problems(report(place, DEV, "aws-dev"))["clock"]


def test_without_credentials_the_command_to_sign_in_is_said_once_as_a_problem() -> None:
    place = Simulated(Aws())
    lines = report(place, DEV, "aws-dev")
    assert "aws sso login" in problems(lines)["credentials"]
    assert {"rights", SPOT, BUCKET, CERTIFICATE} <= set(unknown(lines))
    assert {request.url.host for request in place.asked} == {"sts.us-east-1.amazonaws.com", "registry-1.docker.io"}


def test_expired_credentials_are_a_problem_too() -> None:
    def expired(request: httpx.Request) -> httpx.Response:
        return xml("<E><Error><Code>ExpiredToken</Code></Error></E>", 403)

    lines = report(Simulated(expired, programs={"aws configure": KEYS}), DEV, "aws-dev")
    assert "ExpiredToken" in problems(lines)["credentials"]


@pytest.mark.parametrize(
    ("action", "subject", "right"),
    [
        ("GetServiceQuota", SPOT, "servicequotas:GetServiceQuota"),
        ("SimulatePrincipalPolicy", "rights", "iam:SimulatePrincipalPolicy"),
        ("DescribeInstanceTypeOfferings", "machine g5.8xlarge", "ec2:DescribeInstanceTypeOfferings"),
        ("DescribeCertificate", CERTIFICATE, "acm:DescribeCertificate"),
    ],
)
def test_what_may_not_be_asked_is_said_and_hides_nothing_else(action: str, subject: str, right: str) -> None:
    lines = report(simulated(Aws(forbidden=action, bucket=403)), DEV, "aws-dev")
    assert f"not allowed to call {right}" in unknown(lines)[subject]
    assert list(problems(lines)) == [BUCKET]


def test_a_call_without_an_answer_is_said_and_hides_nothing_else() -> None:
    lines = report(simulated(Aws(broken="DescribeCertificate", bucket=403)), DEV, "aws-dev")
    assert "acm.us-east-1.amazonaws.com does not answer in time" in unknown(lines)[CERTIFICATE]
    assert list(problems(lines)) == [BUCKET]


def test_an_answer_of_another_shape_is_said_and_hides_nothing_else() -> None:
    aws = Aws(bucket=403, cluster={"status": ["?"], "tags": "?"})
    lines = report(simulated(aws), DEV, "aws-dev")
    assert "not as documented" in unknown(lines)[CLUSTER]
    assert BUCKET in problems(lines)


@pytest.mark.parametrize(("aws", "status"), [(Aws(), 0), (Aws(bucket=403), 1)])
@pytest.mark.parametrize("form", ["text", "json"])
def test_the_command_ends_with_its_verdict(
    aws: Aws, status: int, form: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place = simulated(aws)
    assert doctor.run(DoctorOptions(stack="aws-dev", format=form), place.tools()) == status
    out, _ = capsys.readouterr()
    if form == "json":
        report_read = json.loads(out)
        assert report_read["verdict"] == ("problems" if status else "ok")
        assert {"subject", "outcome", "text", "fix"} == set(report_read["lines"][0])
    else:
        assert out.splitlines()[-1].endswith("0 that could not be asked")


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_answer_that_says_a_credential_again_does_not_show_it(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    named = {"DomainName": f"{SECRET}.example.org", "SubjectAlternativeNames": [f"{TOKEN}.example.org"]}
    place = simulated(Aws(certificate={"Status": "ISSUED", **named}))
    assert doctor.run(DoctorOptions(stack="aws-dev", format=form), place.tools()) == 1
    out, err = capsys.readouterr()
    assert "is for <redacted>.example.org, <redacted>.example.org" in out
    assert SECRET not in out + err
    assert TOKEN not in out + err
