"""Another team's program uses Ebbtide as a component package: the examples, run by the real engine against a real API
server, with nodes that kwok plays.

YAML runs in its own language host. TypeScript is compiled and type-checked by its own compiler and runs in Pulumi's
Automation API for Node.js; that API, in place of Pulumi's Node.js language host, and the SDK that `pulumi package add`
would have that host write, are stand-ins (``typescript/``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.workspace import PROJECT, paths
from lab.rehearsal.cluster import RehearsalCluster
from lab.toolchain import go_programs
from tests.installed import node_packages
from tests.rehearsal.conftest import api_of
from tests.rehearsal.stage import Stage
from tests.rehearsal.test_stacks import objects

pytestmark = pytest.mark.engine

EXAMPLES = PROJECT / "docs" / "examples" / "component-package"
NODE = PROJECT / "tests" / "rehearsal" / "typescript"
HOST = go_programs.GoProgram(
    "pulumi-language-yaml", "pulumi_yaml", "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml"
)


class Program(Stage):
    """The example in YAML, as it is in the docs but for the path of the package."""

    example, source = EXAMPLES / "yaml", "Pulumi.yaml"

    def lay_out(self) -> None:
        shutil.copytree(self.example, self.root, dirs_exist_ok=True)
        self.replace("Pulumi.yaml", "ebbtide: ../../../..", f"ebbtide: {PROJECT}")

    def replace(self, file: str, old: str, new: str) -> None:
        """Change a text of the program, which must be there."""
        text = (self.root / file).read_text()
        assert old in text
        (self.root / file).write_text(text.replace(old, new))


class TypeScriptProgram(Program):
    """The example in TypeScript, compiled before each run."""

    example, source = EXAMPLES / "typescript", "index.ts"

    def lay_out(self) -> None:
        super().lay_out()
        (self.root / "node_modules").symlink_to(node_modules())
        shutil.copy(NODE / "host.js", self.root)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command, *options = arguments
        if command not in ("up", "preview", "destroy"):
            return super().start(*arguments)
        compile_ = ["node_modules/.bin/tsc", "--strict", "--module", "commonjs", "--target", "es2022", self.source]
        subprocess.run([*compile_, "--skipLibCheck"], cwd=self.root, check=True, env=self.env)
        return subprocess.Popen(
            ["node", "host.js", command, str(self.root), str(self.root / "index.js"), *options],
            cwd=self.root, env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip


def node_modules() -> Path:
    """Return the packages of ``package-lock.json`` and the SDK."""
    modules = node_packages("typescript", NODE)
    shutil.copytree(NODE / "ebbtide-sdk", modules / "@pulumi" / "ebbtide", dirs_exist_ok=True)
    return modules


NO_NODE = pytest.mark.skipif(shutil.which("npm") is None and not os.environ.get("CI"), reason="no Node.js here")


@pytest.fixture(params=[Program, pytest.param(TypeScriptProgram, marks=NO_NODE)], ids=["YAML", "TypeScript"])
def program(request: pytest.FixtureRequest, tmp_path: Path, shared_cluster: RehearsalCluster) -> Program:
    go_programs.build((HOST,), paths(), lambda program: None, lambda text: None)
    root = tmp_path / "program"
    root.mkdir()
    program: Program = request.param(root, api_of(shared_cluster))
    settings = yaml.safe_load(shared_cluster.kubeconfig.read_text())
    settings["contexts"][0]["name"] = settings["current-context"] = "gpu-cluster"
    (root / ".kube").mkdir()
    (root / ".kube" / "config").write_text(yaml.safe_dump(settings))
    program.env |= {"HOME": str(root), "PATH": f"{program.env['PATH']}:{paths().bin}"}
    return program


def test_a_program_makes_a_stack_keeps_it_as_it_is_and_takes_it_down(
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
    quote = '"' if program.source == "index.ts" else ""
    program.replace(program.source, "gpus: 1", "gpus: 0")
    program.replace(program.source, f"idleTtl: {quote}20m{quote}", 'idleTtl: "20"')
    refused = program.up(fails=True).output
    for part in ("config.models.qwen-8b.gpus", "EBB001", "config.models.qwen-8b.idleTtl", "EBB011"):
        assert part in refused, refused
    assert "Traceback" not in refused
    assert objects(shared_cluster) == set()
