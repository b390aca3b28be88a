"""Runner of a real Terraform with a real provider, where both are on this machine; nothing is downloaded.

The provider is looked for where Terraform itself looks for one without a registry, so a machine that has a filesystem
mirror needs no setting; ``EBBTIDE_TERRAFORM_PLUGINS`` names another folder of that form.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SETTING: Final = "EBBTIDE_TERRAFORM_PLUGINS"
_COMMON: Final = ("-input=false", "-no-color", "-parallelism=20")
_IMPLIED: Final = (
    "~/.terraform.d/plugins",
    "~/.local/share/terraform/plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
)


class NotHere(Exception):
    """A program that is missing on this machine; the text says which, and where it was looked for."""


class TerraformFailed(Exception):
    """An end that was not foreseen; the text is what Terraform said."""


@dataclass(frozen=True)
class Programs:
    """Terraform, and the folder that a provider's program lies in."""

    terraform: Path
    source: str
    provider: Path


def mirrors(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the folders that a provider may lie under, each laid out as ``HOST/NAMESPACE/NAME/VERSION/PLATFORM``."""
    named = [environ[each] for each in (SETTING, "TF_PLUGIN_CACHE_DIR") if environ.get(each)]
    return [*(Path(each) for each in (*named, *_IMPLIED)), *sorted(Path("/opt").glob("*"))]


def find(source: str, version: str, folders: list[Path] | None = None) -> Programs:
    """Return the programs with the provider ``source`` (``registry.terraform.io/hashicorp/aws``) of this version.
    Raises ``NotHere``."""
    terraform = shutil.which("terraform")
    if terraform is None:
        raise NotHere("terraform is not in PATH")
    below = f"{source}/{version}"
    name = source.rpartition("/")[2]
    for folder in mirrors() if folders is None else folders:
        for program in sorted((folder.expanduser() / below).glob(f"*/terraform-provider-{name}_v{version}*")):
            return Programs(Path(terraform), source, program.parent)
    raise NotHere(f"no folder of Terraform's providers has {below}; {SETTING} names one that has")


@dataclass(frozen=True)
class Message:
    """What Terraform says of one resource: ``action`` (create, update, delete) with the ``properties`` that are to
    change, or the text of an ``error``."""

    address: str
    action: str = ""
    properties: tuple[str, ...] = ()
    error: str = ""


class Terraform:
    """One configuration in a folder of its own, with nothing of the user's settings, credentials or proxies."""

    def __init__(self, folder: Path, programs: Programs, environment: Mapping[str, str]) -> None:
        self._folder, self._programs = folder, programs
        config = folder / "terraform.rc"
        # the provider is started where it lies: neither copied nor hashed, which takes longer than all the rest
        overrides = f'"{programs.source}" = "{programs.provider}"'
        config.write_text(f"provider_installation {{\n  dev_overrides {{\n    {overrides}\n  }}\n}}\n")
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_CLI_CONFIG_FILE": str(config),
            **environment,
        }

    def write(self, configuration: Mapping[str, Any]) -> None:
        """Make this the configuration from now on."""
        (self._folder / "main.tf.json").write_text(json.dumps(configuration, indent=1))

    def schema(self) -> dict[str, Any]:
        """Return the schema of the provider."""
        (self._folder / "main.tf.json").write_text(
            json.dumps({"terraform": {"required_providers": {"it": {"source": self._programs.source}}}})
        )
        output: dict[str, Any] = json.loads(self._run("providers", "schema", "-json").stdout)
        return output

    def problems(self) -> list[str]:
        """Return what the provider has against the configuration, asking no cloud."""
        output = json.loads(self._run("validate", "-json", allowed=(0, 1)).stdout)
        return [_text(each) for each in output["diagnostics"] if each["severity"] == "error"]

    def apply(self) -> list[Message]:
        """Make what the configuration says; return each resource that was made or changed, and each that failed."""
        return list(_read(self._run("apply", "-json", "-auto-approve", *_COMMON, allowed=(0, 1)).stdout))

    def destroy(self) -> list[Message]:
        """Take away everything; return each resource that went, and each that did not."""
        return list(_read(self._run("destroy", "-json", "-auto-approve", *_COMMON, allowed=(0, 1)).stdout))

    def plan(self) -> list[Message]:
        """Read everything back; return what a second ``apply`` would change."""
        if self._run("plan", "-detailed-exitcode", "-out=again", *_COMMON, allowed=(0, 2)).returncode == 0:
            return []
        return list(_changes(json.loads(self._run("show", "-json", "again").stdout)["resource_changes"]))

    def left(self) -> list[str]:
        """Return the addresses of what Terraform has made and not taken away."""
        return self._run("state", "list").stdout.split()

    def _run(self, *arguments: str, allowed: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            [str(self._programs.terraform), *arguments],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode not in allowed:
            output = f"{ended.stdout[-1000:]}{ended.stderr[-2000:]}"
            raise TerraformFailed(f"terraform {arguments[0]} ended with {ended.returncode}: {output}")
        return ended


def _changes(changes: list[Mapping[str, Any]]) -> Iterator[Message]:
    for each in changes:
        change = each["change"]
        if change["actions"] != ["no-op"]:
            before, after = (change[side] or {} for side in ("before", "after"))
            late = {name for name, unknown in (change["after_unknown"] or {}).items() if unknown}
            names = {name for name in {*before, *after} if before.get(name) != after.get(name)} | late
            yield Message(each["address"], "+".join(change["actions"]), tuple(sorted(names)))


def _read(log: str) -> Iterator[Message]:
    for line in log.splitlines():
        event = json.loads(line)
        if event["type"] == "diagnostic" and event["diagnostic"]["severity"] == "error":
            yield Message(event["diagnostic"].get("address", ""), error=_text(event["diagnostic"]))
        elif event["type"] == "apply_complete":
            yield Message(event["hook"]["resource"]["addr"], action=event["hook"]["action"])


def _text(diagnostic: Mapping[str, Any]) -> str:
    place = diagnostic.get("address") or (diagnostic.get("snippet") or {}).get("context") or ""
    return ": ".join(filter(None, (place, diagnostic["summary"], diagnostic.get("detail", ""))))
