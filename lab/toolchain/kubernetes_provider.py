"""Pulumi's own Kubernetes provider from its Go module, where Pulumi's releases cannot be reached.

The module is the commit that Pulumi published as 4.25.0-alpha.1768448096, a day before 4.25.0, the version of the SDK
in ``locks/`` (docs/decisions/0022). It is built inside a copy: its go.mod names a folder beside it, and two files that
it embeds are only made by its own Makefile.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from lab.toolchain.keda import GoModule, ModuleProgram
from lab.toolchain.source_edit import Edit

NAME: Final = "pulumi-resource-kubernetes"
VERSION: Final = "4.25.0-alpha.1768448096"
MODULE: Final = GoModule(
    "github.com/pulumi/pulumi-kubernetes/provider/v4",
    "v4.0.0-20260115033456-f47bc2d6f199",
    "h1:j2bphCf7c2YhnBrhwht2f3TNRRgcMImltUlAgzxr9H4=",
)
PROGRAM: Final = ModuleProgram(
    name=NAME,
    module=MODULE,
    package=f"./cmd/{NAME}",
    ldflags=f"-X {MODULE.path}/pkg/version.Version={VERSION}",
    tags="",
)
_SDK: Final = "github.com/pulumi/pulumi-kubernetes/sdk/v4"
# only the provider's components (charts, groups of YAML) use it, and this program has none of them
_SDK_VERSION: Final = "v4.22.2"
_SDK_SUMS: Final = {
    _SDK_VERSION: "h1:TJ1JnD/U21SD7DV8MS525Qv4/mSCANdxrRWUWuNJZOs=",
    f"{_SDK_VERSION}/go.mod": "h1:jOdpeNeRvY4iN+W8aDP5+HyqrM7hXsxa9paPsmjQFfY=",
}


def prepared() -> tuple[str, ...]:
    """Return what a build's stamp must contain besides the module."""
    return (_SDK_VERSION, *_SDK_SUMS.values())


def prepare(copy: Path) -> None:
    """Point go.mod at the SDK's module, pinned by its sums, and write the two files that the program embeds."""
    Edit("go.mod", f"replace {_SDK} => ../sdk", f"replace {_SDK} => {_SDK} {_SDK_VERSION}").make(copy)
    with (copy / "go.sum").open("a") as sums:
        sums.writelines(f"{_SDK} {version} {digest}\n" for version, digest in _SDK_SUMS.items())
    folder = copy / "cmd" / NAME
    schema = {**json.loads((folder / "schema.json").read_text()), "version": VERSION}
    (folder / "schema-embed.json").write_text(json.dumps(schema, separators=(",", ":")))
    (folder / "terraform-mapping.json").rename(folder / "terraform-mapping-embed.json")
