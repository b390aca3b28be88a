"""What the project relies on in Pulumi's Kubernetes provider, against a real API server and its controllers."""

from __future__ import annotations

import json
import signal
import time
import uuid
from typing import Any

import pytest
import yaml

from components.model_mirror.objects import UNAWAITED
from tests.program.conftest import Api, ApiServer, Project

pytestmark = pytest.mark.engine

NAMESPACES = "/api/v1/namespaces"


@pytest.fixture
def namespace() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


HEAD = """
ns = k8s.core.v1.Namespace("ns", metadata={{"name": "{namespace}"}})
opts = pulumi.ResourceOptions(depends_on=[ns])
"""


def deployment(image: str = "a:1", replicas: int = 0, more: str = "", labels: str = '{"app": "web"}') -> str:
    return f"""
web = k8s.apps.v1.Deployment("web",
    metadata={{"name": "web", "namespace": ns.metadata.name,
              "annotations": {{"pulumi.com/skipAwait": "true"}}}},
    spec={{"replicas": {replicas}, "selector": {{"matchLabels": {labels}}},
          "template": {{"metadata": {{"labels": {labels}}},
                       "spec": {{"containers": [{{"name": "c", "image": "{image}", {more}
                                "resources": {{"requests": {{"cpu": "1000m", "memory": "1024Mi"}}}}}}]}}}}}},
    opts=pulumi.ResourceOptions(depends_on=[ns], ignore_changes=["spec.replicas"]))
"""


def unchanged(output: str) -> bool:
    """Whether a preview or an update found nothing to do."""
    return "unchanged" in output and not any(
        f" to {verb}" in output for verb in ("create", "update", "replace", "delete")
    )


def load(project: Project, text: str, namespace: str) -> None:
    project.program(HEAD.format(namespace=namespace) + text)


def test_up_creates_preview_then_sees_no_change_and_destroy_leaves_nothing(
    project: Project, api: Api, namespace: str
) -> None:
    load(
        project,
        deployment()
        + """
k8s.core.v1.Service("web", metadata={"name": "web", "namespace": ns.metadata.name,
                                     "annotations": {"pulumi.com/skipAwait": "true"}},
                    spec={"selector": {"app": "web"}, "ports": [{"port": 80}]}, opts=opts)
k8s.core.v1.ConfigMap("settings", metadata={"namespace": ns.metadata.name}, data={"a": "1"}, opts=opts)
""",
        namespace,
    )
    project.preview()
    project.up()
    assert api.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/web")
    maps = api.call("GET", f"{NAMESPACES}/{namespace}/configmaps")
    assert any(item["metadata"]["name"].startswith("settings-") for item in (maps or {})["items"])
    assert unchanged(project.preview("--expect-no-changes").output)
    project.refresh()
    assert unchanged(project.preview("--expect-no-changes").output)
    project.destroy()
    assert api.call("GET", f"{NAMESPACES}/{namespace}") is None
    assert project.resources() == []


def scale(api: Api, namespace: str, replicas: int) -> None:
    """Change replicas the way an autoscaler does: through the scale subresource, under its own name."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web/scale"
    api.merge(path, {"spec": {"replicas": replicas}}, "keda")


def test_replicas_that_another_manager_changed_are_no_difference_and_survive_an_update(
    project: Project, api: Api, namespace: str
) -> None:
    load(project, deployment(), namespace)
    project.up()
    scale(api, namespace, 3)
    assert unchanged(project.preview("--expect-no-changes").output)
    project.refresh()
    assert unchanged(project.preview("--expect-no-changes").output)
    load(project, deployment(image="a:2"), namespace)
    project.up()
    live = api.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/web")
    assert live is not None
    assert live["spec"]["replicas"] == 3
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "a:2"
    owners = {e["manager"] for e in live["metadata"]["managedFields"] if "f:replicas" in json.dumps(e["fieldsV1"])}
    assert "keda" in owners
    assert not any(owner.startswith("pulumi-kubernetes") for owner in owners)


def test_an_owned_field_that_somebody_changed_is_shown_after_a_refresh_and_put_back(
    project: Project, api: Api, namespace: str
) -> None:
    load(project, deployment(), namespace)
    project.up()
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil:9"}]
    api.call("PATCH", f"{path}?fieldManager=somebody-else", patch, "application/json-patch+json")
    project.refresh()
    for outcome in (project.preview(fails=True), project.up("--diff", fails=True)):
        assert '"evil:9" => "a:1"' in outcome.output
        assert 'conflict with "somebody-else"' in outcome.output
        assert "Server-Side Apply field conflict detected" in outcome.output
    load(
        project,
        deployment().replace('"pulumi.com/skipAwait"', '"pulumi.com/patchForce": "true", "pulumi.com/skipAwait"'),
        namespace,
    )
    project.up()
    live = api.call("GET", path)
    assert live is not None
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "a:1"


def test_a_job_that_nobody_waits_for_is_replaced_under_its_name(project: Project, api: Api, namespace: str) -> None:
    text = """
k8s.batch.v1.Job("copy", metadata={{"name": "copy", "namespace": ns.metadata.name, "annotations": {annotations}}},
    spec={{"template": {{"spec": {{"restartPolicy": "Never", "containers": [{{"name": "c", "image": "{image}"}}]}}}}}},
    opts=opts)
"""
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/copy"
    load(project, text.format(annotations=dict(UNAWAITED), image="a:1"), namespace)
    project.up()
    before = api.call("GET", path)
    load(project, text.format(annotations=dict(UNAWAITED), image="a:2"), namespace)
    assert "1 to replace" in project.preview().output
    project.up()
    after = api.call("GET", path)
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"]["template"]["spec"]["containers"][0]["image"] == "a:2"


def test_what_a_secret_holds_is_neither_in_state_nor_in_any_output(project: Project, api: Api, namespace: str) -> None:
    text = """
k8s.core.v1.Secret("keys", metadata={"name": "keys", "namespace": ns.metadata.name},
                   string_data={"a": "opensesame1"}, data={"b": "b3BlbnNlc2FtZTI="}, opts=opts)
"""
    load(project, text, namespace)
    outputs = [project.preview().output, project.up("--diff").output]
    load(project, text.replace("opensesame1", "opensesame3"), namespace)
    outputs += [project.preview().output, project.up("--diff").output, project.refresh("--diff").output]
    assert unchanged(project.preview("--expect-no-changes").output)
    live = api.call("GET", f"{NAMESPACES}/{namespace}/secrets/keys")
    assert live is not None
    assert live["data"]["a"] == "b3BlbnNlc2FtZTM="
    for text in [*outputs, project.state()]:
        for word in ("opensesame", "b3BlbnNlc2FtZT"):
            assert word not in text


def test_a_wait_ends_cleanly_on_interrupt_and_the_next_up_goes_on(project: Project, api: Api, namespace: str) -> None:
    waiting = deployment(replicas=1).replace('"pulumi.com/skipAwait": "true"', "")
    load(project, waiting, namespace)
    process = project.start("up", "--yes", "--skip-preview", "--stack=test")
    assert process.stdout is not None
    line = next(line for line in process.stdout if "Deployment web creating" in line)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    deadline = time.monotonic() + 60
    while api.call("GET", path) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # it is waited for now
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert "Traceback" not in line + output
    assert "cancelled" in output
    assert api.call("GET", path)
    load(project, deployment(replicas=1), namespace)
    project.up()
    assert unchanged(project.preview("--expect-no-changes").output)


def test_a_deployment_that_does_not_come_up_fails_with_the_pods_reasons_and_stays_in_state(
    project: Project, namespace: str
) -> None:
    load(
        project,
        deployment(replicas=1).replace('"pulumi.com/skipAwait": "true"', '"pulumi.com/timeoutSeconds": "2"'),
        namespace,
    )
    output = project.up(fails=True).output
    assert "Minimum number of live Pods was not attained" in output
    assert any(item["type"].endswith("Deployment") for item in project.resources())


def test_a_node_patch_adds_labels_and_taints_and_gives_back_only_its_own(project: Project, api: Api) -> None:
    name = f"n-{uuid.uuid4().hex[:8]}"
    api.call(
        "POST",
        "/api/v1/nodes",
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"was": "here"}}},
    )
    project.program(f"""
k8s.core.v1.NodePatch("gpu", metadata={{"name": "{name}", "labels": {{"workerType": "gpu"}}}},
    spec={{"taints": [{{"key": "workerType", "value": "gpu", "effect": "NoSchedule"}}]}})
""")
    project.up()
    live = api.call("GET", f"/api/v1/nodes/{name}")
    assert live is not None
    assert live["metadata"]["labels"] == {"was": "here", "workerType": "gpu"}
    assert any(taint["key"] == "workerType" for taint in live["spec"]["taints"])
    project.refresh()
    assert unchanged(project.preview("--expect-no-changes").output)
    project.destroy()
    live = api.call("GET", f"/api/v1/nodes/{name}")
    assert live is not None
    assert live["metadata"]["labels"] == {"was": "here"}
    assert not any(taint["key"] == "workerType" for taint in live["spec"].get("taints", []))


def test_a_custom_kind_and_its_first_object_come_up_together(project: Project, api: Api) -> None:
    group = f"x{uuid.uuid4().hex[:8]}.example.com"
    text = f"""
k8s.apiextensions.v1.CustomResourceDefinition("crd", metadata={{"name": "tides.{group}"}}, spec={{
    "group": "{group}", "scope": "Namespaced", "names": {{"plural": "tides", "singular": "tide", "kind": "Tide"}},
    "versions": [{{"name": "v1", "served": True, "storage": True, "schema": {{"openAPIV3Schema": {{"type": "object",
        "properties": {{"spec": {{"type": "object", "properties": {{"height": {{"type": "integer"}},
            "any": {{"type": "object", "x_kubernetes_preserve_unknown_fields": True}}}}}}}}}}}}}}]}})
k8s.apiextensions.CustomResource("high", api_version="{group}/v1", kind="Tide", metadata={{"name": "high"}},
                                 spec={{"height": HEIGHT, "any": {{"x": 1}}}})
"""
    project.program(text.replace("HEIGHT", "3"))
    project.preview()
    project.up()
    live = api.call("GET", f"/apis/{group}/v1/namespaces/default/tides/high")
    assert live is not None
    assert live["spec"]["height"] == 3
    project.refresh()
    assert unchanged(project.preview("--expect-no-changes").output)
    project.program(text.replace('"height": HEIGHT', '"hight": 4'))
    assert "spec.hight" in project.preview(fails=True).output
    project.destroy()
    assert api.call("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tides.{group}") is None


def test_an_object_whose_create_was_cut_off_before_it_was_recorded_is_recognised(
    project: Project, api: Api, namespace: str
) -> None:
    load(project, "", namespace)
    project.up()
    state = next((project.root / "state").rglob("stacks/**/test.json"))
    record = json.loads(state.read_text())
    resources = record["checkpoint"]["latest"]["resources"]
    record["checkpoint"]["latest"]["resources"] = [r for r in resources if not r["type"].endswith(":Namespace")]
    state.write_text(json.dumps(record))
    project.up()
    assert any(item["type"].endswith(":Namespace") for item in project.resources())


def test_an_object_deleted_by_hand_is_made_again_after_a_refresh(project: Project, api: Api, namespace: str) -> None:
    load(project, deployment(), namespace)
    project.up()
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    api.call("DELETE", path)
    project.refresh()
    assert "1 to create" in project.preview().output
    project.up()
    assert api.call("GET", path)


def test_a_cluster_that_does_not_answer_is_named_with_its_address(lone_project: Project, api_server: ApiServer) -> None:
    config = api_server.config(server="https://127.0.0.1:7999")
    (lone_project.root / "no-kubeconfig").write_text(yaml.safe_dump(config))
    lone_project.program('k8s.core.v1.Namespace("ns", metadata={"name": "x"})')
    lone_project.preview()  # says what it can without asking
    output = lone_project.up(fails=True).output
    assert "configured Kubernetes cluster is unreachable" in output
    assert "https://127.0.0.1:7999" in output


def test_another_kubeconfig_for_the_same_cluster_identifier_replaces_nothing(
    project: Project, api: Api, namespace: str, api_server: ApiServer
) -> None:
    text = """
provider = k8s.Provider("p", kubeconfig={path!r}, cluster_identifier={identifier!r})
k8s.core.v1.Namespace("ns", metadata={{"name": "{namespace}"}}, opts=pulumi.ResourceOptions(provider=provider))
"""
    moved = project.root / "moved-kubeconfig"
    moved.write_text(yaml.safe_dump({**api_server.config(), "preferences": {}}))
    project.program(text.format(path=str(api_server.kubeconfig), identifier="one", namespace=namespace))
    project.up()
    project.program(text.format(path=str(moved), identifier="one", namespace=namespace))
    output = project.preview().output
    assert "to replace" not in output
    assert "1 to update" in output
    project.program(text.format(path=str(moved), identifier="two", namespace=namespace))
    assert "2 to replace" in project.preview().output


def test_a_manifest_file_is_applied_object_by_object(project: Project, api: Api, namespace: str) -> None:
    documents: list[Any] = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"m{n}", "namespace": namespace},
            "data": {"n": str(n)},
        }
        for n in range(3)
    ]
    (project.root / "all.yaml").write_text(yaml.safe_dump_all(documents))
    load(project, f'k8s.yaml.ConfigFile("all", file="{project.root}/all.yaml", opts=opts)', namespace)
    project.up()
    maps = api.call("GET", f"{NAMESPACES}/{namespace}/configmaps")
    assert {"m0", "m1", "m2"} <= {item["metadata"]["name"] for item in (maps or {})["items"]}
    assert unchanged(project.preview("--expect-no-changes").output)


def test_a_preview_of_many_unchanged_resources_is_quick(project: Project, namespace: str) -> None:
    load(
        project,
        """
for n in range(150):
    k8s.core.v1.ConfigMap(f"m{n}", metadata={"name": f"m{n}", "namespace": ns.metadata.name},
                          data={"n": str(n)}, opts=opts)
""",
        namespace,
    )
    project.up()
    outcome = project.preview("--expect-no-changes")
    assert unchanged(outcome.output)
    assert outcome.seconds < 20
