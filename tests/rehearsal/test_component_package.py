"""Another team's program uses Ebbtide as a component package: the example in YAML, run by the real engine and YAML's
own language host against a real API server, with nodes that kwok plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.workspace import PROJECT, paths
from lab.rehearsal.cluster import RehearsalCluster
from lab.toolchain import go_programs
from tests.rehearsal.conftest import api_of
from tests.rehearsal.stage import Stage
from tests.rehearsal.test_stacks import objects

pytestmark = pytest.mark.engine

EXAMPLE = PROJECT / "docs" / "examples" / "component-package" / "yaml" / "Pulumi.yaml"
HOST = go_programs.GoProgram(
    "pulumi-language-yaml", "pulumi_yaml", "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml"
)


class Program(Stage):
    """The example, as it is in the docs but for the path of the package."""

    def lay_out(self) -> None:
        text = EXAMPLE.read_text()
        assert "ebbtide: ../../../.." in text
        (self.root / "Pulumi.yaml").write_text(text.replace("ebbtide: ../../../..", f"ebbtide: {PROJECT}"))

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the stack's values in the program."""
        file = self.root / "Pulumi.yaml"
        whole = yaml.safe_load(file.read_text())
        change(whole["resources"]["llm"]["properties"]["config"])
        file.write_text(yaml.safe_dump(whole, sort_keys=False))


@pytest.fixture
def program(tmp_path: Path, shared_cluster: RehearsalCluster) -> Program:
    go_programs.build((HOST,), paths(), lambda program: None, lambda text: None)
    root = tmp_path / "program"
    root.mkdir()
    program = Program(root, api_of(shared_cluster))
    settings = yaml.safe_load(shared_cluster.kubeconfig.read_text())
    settings["contexts"][0]["name"] = settings["current-context"] = "gpu-cluster"
    (root / ".kube").mkdir()
    (root / ".kube" / "config").write_text(yaml.safe_dump(settings))
    program.env |= {"HOME": str(root), "PATH": f"{program.env['PATH']}:{paths().bin}"}
    return program


def test_a_yaml_program_makes_a_stack_keeps_it_as_it_is_and_takes_it_down(
    program: Program, shared_cluster: RehearsalCluster
) -> None:
    shared_cluster.add_node("gpu-node-1", {"nvidia.com/gpu": "1"})
    program.up()
    stack = next(each for each in program.resources() if each["type"] == "ebbtide:index:Stack")
    assert stack["outputs"]["endpoint"] == "https://llm.example.com"
    assert stack["outputs"]["models"] == ["qwen-8b"]
    assert "ciphertext" in stack["outputs"]["apiKeys"], "the keys are a secret"
    models = [each for each in program.resources() if each["type"] == "ebbtide:model_service:ModelService"]
    assert [each["parent"] for each in models] == [stack["urn"]]
    program.preview("--expect-no-changes")
    program.destroy()
    assert objects(shared_cluster) == set()


def test_every_finding_is_shown_at_its_property_and_nothing_is_made(
    program: Program, shared_cluster: RehearsalCluster
) -> None:
    def spoil(config: dict[str, Any]) -> None:
        config["models"]["qwen-8b"] |= {"gpus": 0, "idleTtl": "20"}

    program.edit(spoil)
    refused = program.up(fails=True).output
    for part in ("config.models.qwen-8b.gpus", "EBB001", "config.models.qwen-8b.idleTtl", "EBB011"):
        assert part in refused, refused
    assert "Traceback" not in refused
    assert objects(shared_cluster) == set()
