"""The mirror as it is asked of a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pytest

from components.model_mirror import MirroredModel, MirrorSettings, ModelMirror, TokenSecret
from components.model_mirror.objects import FINAL_STATUS, network_policy
from components.model_mirror.settings import job_name
from components.platforms.contract import Endpoint, Identity, Registry, RegistryAuth, Upload
from components.pushed_image import IMAGES
from infra.recorder.recorder import graph
from infra.recorder.run import record
from tests.program.wire_types import wrong_in

REVISION = "0e9e39f249a16976918f6564b8830bc894c89659"
GATED = MirroredModel("meta-llama/Llama-3.1-8B-Instruct", REVISION, token=TokenSecret("hugging-face"))
OPEN = MirroredModel("Qwen/Qwen3-8B", "b968826d9c46dd6066d109eabc6255188de91218")
UPLOAD = Upload("s3://weights", Identity({"role": "writer"}, {"identity": "use"}), {"REGION": "here"})
REGISTRY = Registry("registry.example.com/ebbtide", RegistryAuth("user", pulumi.Output.secret("in clear")))


def resources(*models: MirroredModel, upload: Upload = UPLOAD) -> list[dict[str, Any]]:
    def program() -> None:
        cluster = k8s.Provider("cluster", kubeconfig="{}")
        registry = Registry(REGISTRY.address, RegistryAuth("user", pulumi.Output.secret("in clear")), pull_secret="p")
        ModelMirror("mirror", MirrorSettings(models), upload, registry, pulumi.ResourceOptions(providers=[cluster]))

    return graph(record("try", {}, [], program).records)


@pytest.fixture(scope="module")
def requests() -> list[dict[str, Any]]:
    return resources(GATED, OPEN, GATED)


def of(requests: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [entry for entry in requests if entry["type"].endswith(f":{kind}")]


def container(job: dict[str, Any]) -> dict[str, Any]:
    (only,) = job["inputs"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_each_model_and_revision_is_copied_once(requests: list[dict[str, Any]]) -> None:
    targets = [
        {e["name"]: e.get("value") for e in container(job)["env"]}["EBBTIDE_TARGET"] for job in of(requests, "Job")
    ]
    assert targets == [
        f"s3://weights/meta-llama--Llama-3.1-8B-Instruct/{REVISION}",
        f"s3://weights/Qwen--Qwen3-8B/{OPEN.revision}",
    ]


def test_what_is_sent_is_what_the_api_takes(requests: list[dict[str, Any]]) -> None:
    assert wrong_in(requests) == []


def test_a_token_comes_from_the_named_secret_and_only_to_the_model_that_needs_it(
    requests: list[dict[str, Any]],
) -> None:
    gated, free = (container(job)["env"] for job in of(requests, "Job"))
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hugging-face", "key": "token"}}}
    assert token in gated
    assert not [entry for entry in free if entry["name"] == "HF_TOKEN"]
    assert not of(requests, "Secret")
    assert "in clear" not in repr(requests)


def test_no_gpu_is_asked_for_and_no_gpu_node_can_be_had(requests: list[dict[str, Any]]) -> None:
    for job in of(requests, "Job"):
        pod = job["inputs"]["spec"]["template"]["spec"]
        assert "tolerations" not in pod
        assert "nodeSelector" not in pod
        assert set(container(job)["resources"]["limits"]) == {"memory"}


def test_only_the_writers_identity_runs_it(requests: list[dict[str, Any]]) -> None:
    (account,) = of(requests, "ServiceAccount")
    assert account["inputs"]["metadata"] == {
        "name": "ebbtide-mirror", "namespace": "ebbtide-mirror", "annotations": {"role": "writer"},
    }  # fmt: skip
    for job in of(requests, "Job"):
        template = job["inputs"]["spec"]["template"]
        assert template["spec"]["serviceAccountName"] == "ebbtide-mirror"
        assert template["metadata"]["labels"]["identity"] == "use"
        assert {"name": "REGION", "value": "here"} in container(job)["env"]


def test_nobody_reaches_the_mirror(requests: list[dict[str, Any]]) -> None:
    (policy,) = of(requests, "NetworkPolicy")
    spec = policy["inputs"]["spec"]
    assert spec["podSelector"] == {}
    assert "ingress" not in spec
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert all(policy["urn"] in job["dependsOn"] for job in of(requests, "Job")), "no pod may run before it is closed"


def test_the_pods_pass_restricted_pod_security(requests: list[dict[str, Any]]) -> None:
    (space,) = of(requests, "Namespace")
    assert space["inputs"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for job in of(requests, "Job"):
        pod = job["inputs"]["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        guard = container(job)["securityContext"]
        assert guard["allowPrivilegeEscalation"] is False
        assert guard["capabilities"] == {"drop": ["ALL"]}
        assert pod["automountServiceAccountToken"] is False


def test_an_update_neither_waits_for_a_copy_nor_runs_it_again_for_a_new_image(requests: list[dict[str, Any]]) -> None:
    for job in of(requests, "Job"):
        assert job["inputs"]["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"
        assert job["ignoreChanges"] == ["spec.template.spec.containers[0].image"]
        assert "ttlSecondsAfterFinished" not in job["inputs"]["spec"], "what is cleaned away is made anew"


def test_the_image_is_used_by_digest(requests: list[dict[str, Any]]) -> None:
    (image,) = of(requests, "Image")
    assert {container(job)["image"] for job in of(requests, "Job")} == {f"${{{image['urn']}#ref}}"}


def test_what_no_try_can_mend_is_tried_once(requests: list[dict[str, Any]]) -> None:
    program = (IMAGES / "mirror" / "ebbtide_mirror" / "__main__.py").read_text()
    assert f"FINAL = 1, {FINAL_STATUS}" in program
    for job in of(requests, "Job"):
        first = job["inputs"]["spec"]["podFailurePolicy"]["rules"][0]
        assert first["action"] == "FailJob"
        assert first["onExitCodes"] == {"containerName": "mirror", "operator": "In", "values": [FINAL_STATUS]}
        assert job["inputs"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_a_jobs_name_changes_with_what_is_copied_and_with_nothing_else() -> None:
    def name(model: MirroredModel = GATED, upload: Upload = UPLOAD) -> str:
        return job_name(model, upload.root, upload.environment)

    assert name() == name(replace(GATED), replace(UPLOAD, identity=Identity({"role": "other"})))
    others = {
        name(replace(GATED, revision="0" * 40)),
        name(replace(GATED, model_id="meta-llama/Llama-3.1-70B-Instruct")),
        name(replace(GATED, token=None)),
        name(replace(GATED, allow_pickle=True)),
        name(upload=replace(UPLOAD, root="s3://other")),
    }
    assert len(others | {name()}) == 6
    long = name(replace(GATED, model_id="a/" + "B.c_" * 40))
    assert len(long) <= 63
    assert long == long.lower()


def test_a_branch_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed are the 40 hexadecimal digits"):
        MirroredModel("a/b", "main")


def test_two_models_that_disagree_over_one_copy_are_refused() -> None:
    with pytest.raises(ValueError, match="with different tokens or consents"):
        _ = MirrorSettings((OPEN, replace(OPEN, allow_pickle=True))).each


@pytest.mark.parametrize(
    ("credentials", "open_"),
    [((), []), ((Endpoint("169.254.170.23/32", (80,)),), [("169.254.170.23/32", [80])])],
)
def test_the_only_link_local_address_it_reaches_is_where_it_gets_its_own_identity(
    credentials: tuple[Endpoint, ...], open_: list[tuple[str, list[int]]]
) -> None:
    policy = network_policy(replace(UPLOAD, credentials=credentials))
    blocks = [
        (to["ipBlock"]["cidr"], [port["port"] for port in rule["ports"]])
        for rule in policy["spec"]["egress"]
        for to in rule.get("to", [])
        if to["ipBlock"]["cidr"].startswith("169.254.")
    ]
    assert blocks == open_
