"""``ebbtide doctor`` against a simulated cluster that exists: every fault is shown with its fix, nothing is written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from components.platforms.checkup import CannotAsk
from components.platforms.local import doctor as local_doctor
from infra.commands import doctor
from infra.stackfile.schema.stack import StackConfig
from tests.unit.doctor_kit import Simulated, problems, report, stack, unknown

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
CONTEXT, NODES, CLAIM = "context gpu-cluster", "nodes of gpu-1xl40s", "claim model-weights"
REGISTRY = "registry registry.example.com/ebbtide"


def node(name: str = "gpu-node-1", ready: str = "True", gpus: int = 1) -> dict[str, Any]:
    status = {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"nvidia.com/gpu": str(gpus)}}
    return {"metadata": {"name": name}, "status": status}


@dataclass
class Kubernetes:
    """A cluster that is ready for its first stack, unless a test says otherwise."""

    version: str = "v1.35.1"
    nodes: list[dict[str, Any]] = field(default_factory=lambda: [node()])
    modes: tuple[str, ...] = ("ReadOnlyMany",)
    classes: tuple[str, ...] = ("fast-ssd",)
    denied: str = ""
    registry: int = 401
    refused: str = ""
    hangs: str = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.url.host == "registry.example.com":
            assert (path, "authorization" in request.headers) == ("/v2/", False)
            return httpx.Response(self.registry)
        if self.refused and self.refused in path:
            return httpx.Response(403, json={"kind": "Status"})
        if self.hangs and self.hangs in path:
            raise httpx.ReadTimeout("no answer")
        answer = self._answer(request, path)
        return httpx.Response(404 if answer is None else 200, json=answer or {"kind": "Status"})

    def _answer(self, request: httpx.Request, path: str) -> Any:
        if path == "/version":
            return {"gitVersion": self.version}
        if path == REVIEWS:
            asked = json.loads(request.content)["spec"]["resourceAttributes"]
            return {"status": {"allowed": asked["resource"] != self.denied}}
        if path == "/api/v1/nodes":
            return {"items": self.nodes}
        if path == "/apis/storage.k8s.io/v1/storageclasses":
            return {"items": [{"metadata": {"name": each}} for each in self.classes]}
        assert path == "/api/v1/namespaces/ebbtide-models/persistentvolumeclaims/model-weights"
        return {"spec": {"accessModes": list(self.modes)}, "status": {"phase": "Bound"}} if self.modes else None


@pytest.fixture(autouse=True)
def _no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "pins", lambda project: [])


@pytest.fixture
def config(tmp_path: Path) -> StackConfig:
    contexts = [{"name": "gpu-cluster", "context": {"cluster": "c"}}]
    clusters = [{"name": "c", "cluster": {"server": "https://cluster.test"}}]
    (tmp_path / "config").write_text(yaml.safe_dump({"contexts": contexts, "clusters": clusters}))
    return stack("onprem", kubeconfig=str(tmp_path / "config"))


def test_a_cluster_that_is_ready_has_no_problem_and_nothing_is_kept_in_it(config: StackConfig) -> None:
    place = Simulated(Kubernetes())
    lines = report(place, config, "onprem")
    assert {subject: each for subject, each in lines.items() if each.outcome != "ok"} == {}
    assert place.ran == []
    assert set(lines) == {CONTEXT, "cluster", "clock", "rights", NODES, CLAIM, "storage class", REGISTRY}
    assert {request.url.path for request in place.asked if request.method not in ("GET", "HEAD")} == {REVIEWS}
    assert not [request for request in place.asked if "secrets" in request.url.path]


@pytest.mark.parametrize(
    ("cluster", "subject", "says"),
    [
        (Kubernetes(version="v1.29.9"), "cluster", "is Kubernetes 1.29.9; fix: upgrade it to 1.30"),
        (Kubernetes(nodes=[]), NODES, "gpu-node-1 is not in the cluster"),
        (Kubernetes(nodes=[node(ready="False")]), NODES, "is not ready; fix: kubectl describe node gpu-node-1"),
        (Kubernetes(nodes=[node(gpus=0)]), NODES, "offers 0 nvidia.com/gpu, the pool says 1; fix: .*device plugin"),
        (Kubernetes(modes=()), CLAIM, "is not in namespace ebbtide-models"),
        (Kubernetes(modes=("ReadWriteOnce",)), CLAIM, "has ReadWriteOnce"),
        (Kubernetes(classes=("slow",)), "storage class", "fast-ssd is not there; fix: write one of slow"),
        (Kubernetes(denied="deployments"), "rights", "4 are missing: get deployments.apps.*on-prem-deployer"),
    ],
)
def test_every_fault_is_shown_with_its_fix(cluster: Kubernetes, subject: str, says: str, config: StackConfig) -> None:
    lines = problems(report(Simulated(cluster), config, "onprem"))
    assert list(lines) == [subject]
    assert re.search(says, lines[subject])
    assert not lines[subject].endswith("fix: ")


def test_a_kubeconfig_without_the_context_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("{}")
    config = stack("onprem", kubeconfig=str(tmp_path / "config"))
    assert "is not a context of" in problems(report(Simulated(Kubernetes()), config, "onprem"))[CONTEXT]


@pytest.mark.parametrize(
    ("cluster", "subject", "says"),
    [
        (Kubernetes(refused="/nodes"), NODES, "not allowed to read /api/v1/nodes"),
        (Kubernetes(refused="reviews"), "rights", "answers 403"),
        (Kubernetes(hangs="storageclasses"), "storage class", "cluster.test does not answer in time"),
        (Kubernetes(registry=502), REGISTRY, "answers 502"),
    ],
)
def test_what_cannot_be_asked_is_said_and_hides_nothing_else(
    cluster: Kubernetes, subject: str, says: str, config: StackConfig
) -> None:
    cluster.modes = ()
    lines = report(Simulated(cluster), config, "onprem")
    assert says in unknown(lines)[subject]
    assert list(problems(lines)) == [CLAIM]


def test_a_local_stack_that_is_not_up_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_doctor, "local_facts", lambda: None)
    assert problems(report(Simulated(Kubernetes()), stack("local"), "local")) == {
        "cluster": "no local stack is up; fix: ebbtide local up"
    }


def test_a_kubeconfig_that_cannot_be_used_is_said(config: StackConfig) -> None:
    place, tried = Simulated(Kubernetes()), list[str | None]()

    def unusable(kubeconfig: str | None, context: str | None) -> httpx.Client:
        tried.append(context)
        raise CannotAsk("kubeconfig, context gpu-cluster: no user", "name a context")

    tools = place.tools()
    object.__setattr__(tools, "cluster", unusable)
    lines = dict(doctor.answered(doctor.checks(config, "onprem", tools)))
    assert {subject for subject, each in lines.items() if each.outcome == "unknown"} >= {"cluster", "rights", NODES}
    assert tried == ["gpu-cluster"]
