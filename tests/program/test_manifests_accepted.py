"""Every Kubernetes object of every stack before a real API server: strict about unknown fields, with the real kinds of
KEDA, its HTTP add-on and Karpenter, and each namespace's own Pod Security."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.workspace import paths
from lab.rehearsal.api import Api, Refused, UnknownKind, documents
from lab.rehearsal.cluster import RehearsalCluster
from lab.toolchain import go_programs
from tests.program.recorded_manifests import STACKS, Sent, graph, pod_templates, sent

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

# kinds whose definitions come with a cloud's own controllers, and why they are not here
NOT_CHECKED = {
    "cloud.google.com/v1 BackendConfig": "GKE installs it; its definition is in no package",
    "cloud.google.com/v1 ComputeClass": "GKE installs it; its definition is in no package",
    "networking.gke.io/v1beta1 FrontendConfig": "GKE installs it; its definition is in no package",
    "networking.gke.io/v1 ManagedCertificate": "GKE installs it; its definition is in no package",
}
# what has to be there before the rest can be judged: a dry run in a namespace that is not there is refused
FIRST = ("CustomResourceDefinition", "Namespace", "ServiceAccount", "PriorityClass")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    go_programs.build_rehearsal(paths(), lambda name: print(f"building {name}"), lambda line: None)
    with RehearsalCluster(tmp_path_factory.mktemp("rehearsal") / "cluster", paths()) as cluster:
        cluster.start()
        cluster.install_kinds()
        yield cluster.api


@pytest.fixture(scope="module", params=STACKS)
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Sent]:
    return list(sent(graph(request.param, tmp_path_factory)))


@pytest.fixture
def first(api: Api, objects: list[Sent]) -> list[str]:
    """What the others stand on, created for real; the refusals."""
    refused = []
    for kind in FIRST:
        refused += [
            refusal for each in objects if each.document["kind"] == kind if (refusal := _refusal(api, each, dry=False))
        ]
    api.apply_kinds(each.document for each in objects)
    return refused


def _refusal(api: Api, each: Sent, *, dry: bool) -> str | None:
    try:
        api.apply(each.document, dry_run=dry)
    except Refused as refused:
        return f"{each.urn}: {refused}"
    except UnknownKind as unknown:
        return None if str(unknown) in NOT_CHECKED else f"{each.urn}: no kind {unknown}; say in NOT_CHECKED why not"
    return None


def test_a_real_api_server_accepts_every_object_of_the_stack(api: Api, objects: list[Sent], first: list[str]) -> None:
    rest = [each for each in objects if each.document["kind"] not in FIRST]
    refused = [refusal for each in rest if (refusal := _refusal(api, each, dry=True))]
    assert not [*first, *refused], "\n".join([*first, *refused])
    assert {"Namespace", "Deployment", "ScaledObject", "InterceptorRoute"} <= {e.document["kind"] for e in objects}


def test_every_pod_of_the_stack_is_let_into_its_namespace(api: Api, objects: list[Sent], first: list[str]) -> None:
    assert not first
    pods = [(each, pod) for each in objects for pod in pod_templates(each.document)]
    refused = []
    for each, pod in pods:
        try:
            api.create(pod, dry_run=True)
        except Refused as error:
            refused.append(f"{each.urn}: {error}")
    assert not refused, "\n".join(refused)
    assert len(pods) >= 2, "a model and the gateway at least"


def some(objects: list[Sent], kind: str) -> dict[str, Any]:
    return next(each.document for each in objects if each.document["kind"] == kind)


def test_a_misspelt_field_is_refused_in_kubernetes_own_kinds_and_in_kedas(
    api: Api, objects: list[Sent], first: list[str]
) -> None:
    deployment, scaled = some(objects, "Deployment"), some(objects, "ScaledObject")
    wrong = [
        {**deployment, "spec": {**deployment["spec"], "replica": 1}},
        {**scaled, "spec": {**scaled["spec"], "cooldownperiod": 60}},
    ]
    for document in wrong:
        with pytest.raises(Refused, match=r"replica|cooldownperiod"):
            api.apply(document, dry_run=True)


def test_the_rendered_keda_is_accepted_whole(api: Api) -> None:
    """As its own authors wrote it, so that a refusal in the test above is this project's doing."""
    for file in sorted((paths().cache / "keda").glob("*.yaml")):
        objects = documents(Path(file).read_text())
        for document in objects:
            if document["kind"] in ("Namespace", "CustomResourceDefinition"):
                api.apply(document)
        for document in objects:
            api.apply(document, dry_run=True)
