"""What the wake keeper may change of a pod, judged by a real API server with the right and the guard of the stack."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from components.wake_keeper import KeeperSettings, KeptModel
from components.wake_keeper.access import DELETION_COST, pod_guard, pod_guard_binding, role, role_binding
from tests.program.conftest import TOKEN, ApiServer

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
NAMESPACE, POD = "guarded-models", "small-1"
SETTINGS = KeeperSettings(
    [KeptModel(name="small", hold_seconds=900, cold_start_seconds=600, growable=True, scales_in=True)],
    models_namespace=NAMESPACE,
)
RBAC, ADMISSION = "rbac.authorization.k8s.io/v1", "admissionregistration.k8s.io/v1"
IMAGE = "registry.example.com/vllm@sha256:" + "1" * 64


class Keeper:
    """The API server as the keeper's service account meets it."""

    def __init__(self, server: ApiServer) -> None:
        who = f"system:serviceaccount:{SETTINGS.namespace}:wake-keeper"
        ca = ssl.create_default_context(cafile=server.root / "certs/apiserver.crt")
        headers = {"authorization": f"Bearer {TOKEN}"}
        self.admin = httpx.Client(base_url=server.server, verify=ca, headers=headers)
        self._as_keeper = {"impersonate-user": who, "content-type": "application/merge-patch+json"}

    def create(self, path: str, group: str, kind: str, document: dict[str, Any]) -> None:
        self.admin.post(path, json={"apiVersion": group, "kind": kind, **document}).raise_for_status()

    def patch(self, change: dict[str, Any], pod: str = POD, **params: str) -> httpx.Response:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}"
        return self.admin.patch(path, json=change, headers=self._as_keeper, params=params)

    def cost(self, cost: str | None, **params: str) -> httpx.Response:
        return self.patch({"metadata": {"annotations": {DELETION_COST: cost}}}, **params)


@pytest.fixture(scope="module")
def keeper(api_server: ApiServer) -> Iterator[Keeper]:
    keeper_made = Keeper(api_server)
    keeper_made.create("/api/v1/namespaces", "v1", "Namespace", {"metadata": {"name": NAMESPACE}})
    labels = {"ebbtide.dev/model": "small"}
    pod = {
        "metadata": {"name": POD, "labels": labels, "annotations": {"kept": "as it is"}},
        "spec": {"containers": [{"name": "vllm", "image": IMAGE}], "automountServiceAccountToken": False},
    }
    account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
    api_server.wait(lambda: keeper_made.admin.get(account).status_code == 200, "the namespace's service account")
    keeper_made.create(f"/api/v1/namespaces/{NAMESPACE}/pods", "v1", "Pod", pod)
    guards = f"/apis/{ADMISSION}/validatingadmissionpolic"
    keeper_made.create(f"{guards}ies", ADMISSION, "ValidatingAdmissionPolicy", pod_guard(SETTINGS))
    keeper_made.create(f"{guards}ybindings", ADMISSION, "ValidatingAdmissionPolicyBinding", pod_guard_binding(SETTINGS))
    granted = role(SETTINGS)
    path = f"/apis/{RBAC}/namespaces/{NAMESPACE}"
    keeper_made.create(f"{path}/roles", RBAC, "Role", granted)
    keeper_made.create(f"{path}/rolebindings", RBAC, "RoleBinding", role_binding(SETTINGS, granted))
    # the right first, then the guard is in force: a policy is compiled some moments after it was written
    api_server.wait(lambda: keeper_made.cost("-1", dryRun="All").status_code == 200, "the right")
    forbidden = {"metadata": {"labels": {"in": "force"}}}
    api_server.wait(lambda: keeper_made.patch(forbidden, dryRun="All").status_code == 422, "the guard")
    try:
        yield keeper_made
    finally:
        keeper_made.admin.delete(f"/api/v1/namespaces/{NAMESPACE}/pods/{POD}", params={"gracePeriodSeconds": 0})
        keeper_made.admin.delete(f"{guards}ybindings/{pod_guard_binding(SETTINGS)['metadata']['name']}")
        keeper_made.admin.delete(f"{guards}ies/{pod_guard(SETTINGS)['metadata']['name']}")
        keeper_made.admin.close()


def test_it_may_say_who_goes_first_and_take_it_back(keeper: Keeper) -> None:
    for cost in ("-1", "3", None):
        answer = keeper.cost(cost)
        assert answer.status_code == 200, answer.text
        assert answer.json()["metadata"]["annotations"].get(DELETION_COST) == cost


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"containers": [{"name": "vllm", "image": "registry.example.com/other@sha256:" + "2" * 64}]}},
        {"spec": {"activeDeadlineSeconds": 1}},
        {"metadata": {"labels": {"ebbtide.dev/model": "other"}}},
        {"metadata": {"labels": None}},
        {"metadata": {"finalizers": ["example.com/stays"]}},
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]}},
        {"metadata": {"annotations": {"kept": None}}},
        {"metadata": {"annotations": {"kept": "otherwise"}}},
        {"metadata": {"annotations": {"new": "", DELETION_COST: "-1"}}},
        {"metadata": {"annotations": None}},
    ],
    ids=str,
)
def test_anything_else_is_refused_by_the_guard(keeper: Keeper, change: dict[str, Any]) -> None:
    keeper.cost("-1").raise_for_status()
    answer = keeper.patch(change)
    assert answer.status_code == 422, answer.text
    assert "and nothing else" in answer.json()["message"]


def test_others_are_not_bound_by_it(keeper: Keeper) -> None:
    headers = {"content-type": "application/merge-patch+json"}
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{POD}"
    answer = keeper.admin.patch(path, json={"metadata": {"annotations": {"by": "an admin"}}}, headers=headers)
    assert answer.status_code == 200, answer.text
    back = keeper.admin.patch(path, json={"metadata": {"annotations": {"by": None}}}, headers=headers)
    assert back.status_code == 200
