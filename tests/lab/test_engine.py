"""What `pulumi` itself does with a stack whose models sleep and wake."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.lab.conftest import FIRST, SECOND, Lab, Steady


def test_up_never_waits_for_a_pod_of_a_sleeping_model(sleeping: Lab) -> None:
    """An update of a sleeping model's Deployment is done as soon as the API server has it."""
    started = time.monotonic()
    sleeping.pulumi("up", "--yes", "--skip-preview", "--target-dependents", "--target", "**ModelService**")
    assert time.monotonic() - started < 60
    assert sleeping.replicas(SECOND) == 0


def test_preview_finds_nothing_to_change_while_the_scaler_has_changed_replicas(awake: Lab) -> None:
    assert awake.replicas(FIRST) == 1
    output = awake.pulumi("preview", "--expect-no-changes")
    assert "unchanged" in output


def test_up_and_refresh_leave_an_awake_model_awake(lab: Lab) -> None:
    before = lab.wake(FIRST)
    with Steady(5, lambda: lab.chat(FIRST, max_tokens=1)):  # asked now and then, it may not go by itself
        lab.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
        lab.pulumi("up", "--yes", "--skip-preview")
    assert [pod["metadata"]["uid"] for pod in lab.pods(FIRST)] == [before]
    lab.pulumi("preview", "--refresh", "--expect-no-changes")


def test_the_models_pods_are_placed_by_selector_and_toleration_alone(awake: Lab) -> None:
    (pod,) = awake.pods(FIRST)
    assert pod["spec"]["nodeName"] == "ebbtide-gpu"
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["spec"]["nodeSelector"] == {"workerType": "gpu_1xa10"}
    others = [
        p
        for p in awake.get("/api/v1/pods?fieldSelector=spec.nodeName=ebbtide-gpu")["items"]
        if "ebbtide.dev/model" not in p["metadata"].get("labels", {})
    ]
    assert others == [], "a pod that is no model holds the GPU node"


def test_every_image_is_deployed_by_digest(lab: Lab) -> None:
    for pod in lab.get("/api/v1/pods")["items"]:
        for container in pod["spec"]["containers"]:
            assert "@sha256:" in container["image"], container["image"]


def test_a_bad_stack_file_is_refused_whole_before_anything_is_touched(lab: Lab, tmp_path: Path) -> None:
    def spoil(config: dict[str, Any]) -> None:
        config["ebbtide:models"][FIRST] |= {"gpus": 0, "idleTtl": "20", "api_key": "sk-abcdefghijklmnopqrstuvwx"}
        config["ebbtide:models"][SECOND]["min"] = -1

    stack = lab.changed_stack(tmp_path / "Pulumi.local.yaml", spoil)
    before = lab.deployment(FIRST)["metadata"]["resourceVersion"]
    output = lab.pulumi("up", "--yes", "--skip-preview", "--config-file", str(stack), check=False)
    for code in ("EBB001", "EBB011", "EBB007", "EBB050"):
        assert code in output, output
    assert f"models.{FIRST}.gpus" in output
    assert "sk-abcdefghij" not in output
    assert "Traceback" not in output
    assert lab.deployment(FIRST)["metadata"]["resourceVersion"] == before
