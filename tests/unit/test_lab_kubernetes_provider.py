"""What is done to the module of Pulumi's Kubernetes provider before it is built, and that the SDK goes with it."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from infra.errors import LocalProblem
from lab.toolchain import kubernetes_provider

GO_MOD = "module m\n\nreplace github.com/pulumi/pulumi-kubernetes/sdk/v4 => ../sdk\n"


def module(folder: Path, go_mod: str = GO_MOD) -> Path:
    """A copy of the module as far as it is changed."""
    command = folder / "cmd" / kubernetes_provider.NAME
    command.mkdir(parents=True)
    (folder / "go.mod").write_text(go_mod)
    (folder / "go.sum").write_text("a v1 h1:x=\n")
    (command / "schema.json").write_text('{"name": "kubernetes"}')
    (command / "terraform-mapping.json").write_text("{}")
    return folder


def test_the_copy_takes_the_sdks_module_by_its_sum_and_has_the_files_that_it_embeds(tmp_path: Path) -> None:
    copy = module(tmp_path)
    kubernetes_provider.prepare(copy)
    assert "sdk/v4 => github.com/pulumi/pulumi-kubernetes/sdk/v4 v4." in (copy / "go.mod").read_text()
    first, *added = (copy / "go.sum").read_text().splitlines()
    assert first == "a v1 h1:x="
    assert [line.split()[1].partition("/")[2] for line in added] == ["", "go.mod"]
    command = copy / "cmd" / kubernetes_provider.NAME
    schema = json.loads((command / "schema-embed.json").read_text())
    assert schema == {"name": "kubernetes", "version": kubernetes_provider.VERSION}
    assert (command / "terraform-mapping-embed.json").exists()


def test_a_module_that_is_laid_out_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalProblem, match=r"go\.mod no longer has"):
        kubernetes_provider.prepare(module(tmp_path, "module m\n"))


def test_the_sdk_is_of_the_release_whose_alpha_the_provider_is() -> None:
    assert kubernetes_provider.VERSION.startswith(f"{version('pulumi-kubernetes')}-alpha.")
