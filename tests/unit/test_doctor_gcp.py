"""``ebbtide doctor`` against a simulated Google Cloud: every fault is shown with its fix, nothing is written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from components.platforms.bearer import Bearer
from components.platforms.checkup import CannotAsk
from infra.commands import doctor
from tests.unit.doctor_kit import Simulated, problems, report, stack, unknown

TOKEN = "ya29." + "Zk" * 30
PROJECT, REGION, STACK = "my-llm-project", "europe-west4", "ebbtide-gcp-dev"
DEV = stack("gcp-dev")
MINE = {"ebbtide-stack": STACK}
CLUSTER, BUCKET = f"cluster {STACK}", f"bucket {STACK}-models-{PROJECT}"
CERTIFICATE, L4 = "certificate of llm-dev.example.com", "quota NVIDIA_L4_GPUS"
G2 = "machine g2-standard-16"


def quota(metric: str, limit: float, usage: float = 0) -> dict[str, Any]:
    return {"metric": metric, "limit": limit, "usage": usage}


@dataclass
class Google:
    """A project that is ready for its first stack, unless a test says otherwise."""

    state: str = "ACTIVE"
    missing: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    l4: float = 1
    everywhere: float = 4
    cpus: float = 24
    networks: float = 1
    zones: tuple[str, ...] = ("a", "b", "c")
    versions: tuple[str, ...] = ("1.35.2-gke.100", "1.34.7-gke.9")
    cluster: dict[str, Any] | None = None
    bucket: int = 404
    labels: dict[str, str] = field(default_factory=dict)
    certificate: dict[str, Any] | None = field(
        default_factory=lambda: {
            "expireTime": "2027-03-01T00:00:00.000-08:00",
            "subjectAlternativeNames": ["llm-dev.example.com"],
        }
    )
    refused: str = ""
    reason: str = "IAM_PERMISSION_DENIED"
    hangs: str = ""
    reservation: dict[str, Any] | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        host, path = request.url.host, request.url.path
        if request.method == "HEAD":
            return httpx.Response(404)
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        if self.refused and self.refused in str(request.url):
            details = [{"reason": self.reason, "metadata": {"service": host}}]
            return httpx.Response(403, json={"error": {"code": 403, "details": details}})
        if self.hangs and self.hangs in str(request.url):
            raise httpx.ReadTimeout("no answer")
        answer = getattr(self, "_" + host.split(".")[0])(request, path)
        if answer is None:
            return httpx.Response(404, json={"error": {"code": 404}})
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def _cloudresourcemanager(self, request: httpx.Request, path: str) -> Any:
        if path == f"/v1/projects/{PROJECT}:testIamPermissions":
            asked = json.loads(request.content)["permissions"]
            assert len(asked) <= 100
            return {"permissions": [each for each in asked if each not in self.missing]}
        assert path == f"/v1/projects/{PROJECT}"
        return {"projectId": PROJECT, "lifecycleState": self.state}

    def _serviceusage(self, request: httpx.Request, path: str) -> Any:
        names = request.url.params.get_list("names")
        assert 0 < len(names) <= 30
        off = {f"projects/{PROJECT}/services/{each}" for each in self.disabled}
        return {"services": [{"name": each, "state": "DISABLED" if each in off else "ENABLED"} for each in names]}

    def _compute(self, request: httpx.Request, path: str) -> Any:
        part = path.removeprefix(f"/compute/v1/projects/{PROJECT}")
        if part == "":
            counts = [quota("NETWORKS", self.networks, 0), quota("BACKEND_SERVICES", 9), quota("FORWARDING_RULES", 9)]
            return {"quotas": [quota("GPUS_ALL_REGIONS", self.everywhere), *counts]}
        if part == f"/regions/{REGION}":
            zones = [f"https://x/zones/{REGION}-{zone}" for zone in "abc"]
            return {"zones": zones, "quotas": [quota("NVIDIA_L4_GPUS", self.l4), quota("CPUS", self.cpus)]}
        if part.startswith(f"/regions/{REGION}/sslCertificates/"):
            return self.certificate
        if part == f"/zones/{REGION}-a/reservations/ours":
            return self.reservation
        zone, kind, name = re.fullmatch(r"/zones/europe-west4-(.)/(\w+)/(.+)", part).groups()  # type: ignore[union-attr]
        return (
            {"name": name, "guestCpus": 4}
            if kind == "machineTypes" and (zone in self.zones or name.startswith("e2"))
            else None
        )

    def _container(self, request: httpx.Request, path: str) -> Any:
        if path.endswith("/serverConfig"):
            return {"channels": [{"channel": "REGULAR", "validVersions": list(self.versions)}]}
        return self.cluster

    def _storage(self, request: httpx.Request, path: str) -> Any:
        return {"labels": self.labels} if self.bucket == 200 else httpx.Response(self.bucket, json={"error": {}})

    def _artifactregistry(self, request: httpx.Request, path: str) -> Any:
        return {"labels": self.labels} if self.labels else None

    def _cloudquotas(self, request: httpx.Request, path: str) -> Any:
        here = {"applicableLocations": [REGION], "dimensions": {"gpu_family": "NVIDIA_H100"}, "details": {"value": "8"}}
        elsewhere = {**here, "applicableLocations": ["us-east1"], "details": {"value": "64"}}
        return {"dimensionsInfos": [elsewhere, here]}


@pytest.fixture(autouse=True)
def _no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "pins", lambda project: [])


def simulated(google: Google) -> Simulated:
    return Simulated(google, programs={"gcloud auth application-default print-access-token": f"{TOKEN}\n"})


def test_a_project_that_is_ready_has_no_problem_and_every_call_only_reads() -> None:
    place = simulated(Google())
    lines = report(place, DEV, "gcp-dev")
    assert {subject: each for subject, each in lines.items() if each.outcome != "ok"} == {}
    assert place.ran == ["gcloud auth application-default print-access-token"]
    assert set(lines) >= {"clock", "credentials", "rights", "APIs", L4, G2, CLUSTER, BUCKET, CERTIFICATE}
    written = {str(request.url) for request in place.asked if request.method not in ("GET", "HEAD")}
    assert written == {f"https://cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}:testIamPermissions"}


@pytest.mark.parametrize(
    ("google", "subject", "says"),
    [
        (Google(l4=0), L4, "0, 0 in use; the stack needs up to 1; fix: .*console"),
        (Google(everywhere=0), "quota GPUS_ALL_REGIONS", "needs up to 1"),
        (Google(cpus=11), "quota of system nodes", "11, 0 in use; the stack needs up to 12; fix: ask for more CPUS"),
        (Google(networks=0), "quota NETWORKS", "needs up to 1"),
        (Google(zones=("c",)), G2, "not offered in europe-west4-a, europe-west4-b; fix: .*europe-west4-c"),
        (Google(zones=()), G2, "take another machine"),
        (Google(versions=("1.36.1-gke.1",)), "Kubernetes 1.35", "not offered in REGULAR.*1.36"),
        (Google(missing=("compute.networks.create",)), "rights", "1 permissions are missing: compute.networks.create"),
        (Google(missing=("container.clusters.create",)), "rights", "roles/container.admin"),
        (Google(disabled=("cloudkms.googleapis.com",)), "APIs", "services enable .*cloudkms.googleapis.com"),
        (Google(cluster={"resourceLabels": {"ebbtide-stack": "other"}}), CLUSTER, "something else has the name"),
        (Google(bucket=403), BUCKET, "another project's"),
        (Google(bucket=200), BUCKET, "something else"),
        (Google(certificate=None), CERTIFICATE, "ssl-certificates create llm --region=europe-west4"),
        (Google(certificate={"expireTime": "2026-11-29T00:00:00Z"}), CERTIFICATE, "expired on 2026-11-29"),
        (Google(certificate={"subjectAlternativeNames": ["a.org"]}), CERTIFICATE, "is for a.org"),
        (Google(state="DELETE_REQUESTED"), "credentials", "DELETE_REQUESTED"),
    ],
)
def test_every_fault_is_shown_with_its_fix(google: Google, subject: str, says: str) -> None:
    lines = problems(report(simulated(google), DEV, "gcp-dev"))
    assert list(lines) == [subject]
    assert re.search(says, lines[subject])
    assert not lines[subject].endswith("fix: ")


def test_what_an_earlier_up_made_is_no_problem() -> None:
    google = Google(cluster={"resourceLabels": MINE}, bucket=200, labels=MINE, networks=0)
    assert problems(report(simulated(google), DEV, "gcp-dev")) == {}


def test_gpus_of_newer_families_are_counted_by_region_and_family() -> None:
    prod = stack("gcp-prod")
    name, pool = next((name, pool) for name, pool in prod.pools.items() if pool.machine is not None)
    h100 = pool.model_copy(update={"machine": "a3-highgpu-8g", "max": 2})
    lines = report(simulated(Google(everywhere=64)), prod.model_copy(update={"pools": {name: h100}}), "gcp-prod")
    line = problems(lines)["quota GPUS_PER_GPU_FAMILY, gpu_family NVIDIA_H100"]
    assert line.startswith("8 GPUs")
    assert "needs up to 16" in line


def test_which_quota_flex_start_counts_against_is_not_guessed() -> None:
    config = stack("gcp-dev", flex_start=("gpu-1xl4",))
    lines = report(simulated(Google(l4=0)), config, "gcp-dev")
    assert "not known here" in unknown(lines)["quota of pool gpu-1xl4"]
    assert problems(lines) == {}


@pytest.mark.parametrize(
    ("reservation", "outcome", "says"),
    [
        ({"status": "READY"}, "ok", "READY in europe-west4-a"),
        ({"status": "CREATING"}, "problem", "is CREATING"),
        (
            {"status": "READY", "specificReservation": {"instanceProperties": {"machineType": "a2-highgpu-1g"}}},
            "problem",
            "is for a2-highgpu-1g",
        ),
        (None, "problem", "is not in europe-west4-a"),
    ],
)
def test_a_reservation_is_there_and_for_the_pools_machine(reservation: Any, outcome: str, says: str) -> None:
    [(name, pool)] = DEV.pools.items()
    reserved = pool.model_copy(update={"reservation": "ours", "zones": ("europe-west4-a",)})
    config = DEV.model_copy(update={"pools": {name: reserved}})
    answer = report(simulated(Google(reservation=reservation)), config, "gcp-dev")["reservation ours"]
    assert (answer.outcome, says in answer.text) == (outcome, True)


def test_without_credentials_the_command_to_sign_in_is_said_as_a_problem() -> None:
    lines = report(Simulated(Google()), DEV, "gcp-dev")
    assert "gcloud auth application-default login" in problems(lines)["credentials"]
    assert {"rights", L4, BUCKET, CERTIFICATE} <= set(unknown(lines))


def test_a_project_that_is_not_seen_is_a_problem() -> None:
    place = simulated(Google(refused=f"cloudresourcemanager.googleapis.com/v1/projects/{PROJECT}"))
    assert PROJECT in problems(report(place, DEV, "gcp-dev"))["credentials"]


@pytest.mark.parametrize(
    ("google", "subject", "says"),
    [
        (Google(refused="serverConfig"), "Kubernetes 1.35", "not allowed to read container.googleapis.com"),
        (Google(refused="testIam"), "rights", "not allowed to testIamPermissions"),
        (
            Google(refused="artifactregistry", reason="SERVICE_DISABLED"),
            f"repository {STACK}",
            "artifactregistry.googleapis.com is not enabled in the project; fix: gcloud services enable",
        ),
        (Google(hangs="sslCertificates"), CERTIFICATE, "does not answer in time"),
    ],
)
def test_what_cannot_be_asked_is_said_and_hides_nothing_else(google: Google, subject: str, says: str) -> None:
    google.bucket = 403
    lines = report(simulated(google), DEV, "gcp-dev")
    assert says in unknown(lines)[subject]
    assert BUCKET in problems(lines)


@pytest.mark.parametrize(
    "url", ["https://management.test@evil.test/x", "https://evil.test/x", "http://a.management.test/x"]
)
def test_a_token_is_sent_nowhere_else(url: str) -> None:
    place = Simulated(lambda request: httpx.Response(200, json={"value": [1], "nextLink": url}))
    api = Bearer(place.tools(), lambda: TOKEN, "login", (".management.test",), {})
    with pytest.raises(CannotAsk, match=r"for \.management\.test alone"):
        api.get(url)
    with pytest.raises(CannotAsk, match=r"for \.management\.test alone"):
        list(api.pages("https://a.management.test/x", "value", "nextLink"))
    assert {str(request.url) for request in place.asked} == {"https://a.management.test/x"}
