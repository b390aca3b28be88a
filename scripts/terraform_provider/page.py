"""Generator of ``docs/results/aws-provider.md``: which property of which resource is put before AWS's own provider.

``python -m scripts.terraform_provider.page`` writes it from the graphs of the shipped stacks and their variants. It
needs Terraform and the provider on this machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from components.typed.tables import read_table
from infra.workspace import PROJECT
from scripts.shape_graphs import files, recorded
from scripts.terraform_provider.schema import Schema
from scripts.terraform_provider.terraform import Terraform, find
from scripts.terraform_provider.translation import Known, Translation

FILE = PROJECT / "docs" / "results" / "aws-provider.md"
_HEAD = """\
# What is put before AWS's own Terraform provider

Pulumi's AWS provider is a bridge over Terraform's. The graphs of {stacks} and of their variants in
`scripts/shape_variants.yaml` are written as Terraform's configuration by the schema of its AWS provider {version},
which then judges them: names, types, words, patterns, address ranges and policies' JSON (`terraform validate`). On
request (`EBBTIDE_LONG=1`) the test also applies the graph of `{applied}` against a simulated
AWS but for what that does not serve ({left_out}), wants
it read back without a difference{but}, and destroys it. `tests/program/test_engine_aws_provider.py` does it where
Terraform and the provider are on the machine, and says so where it is skipped. `python -m
scripts.terraform_provider.page` writes this page out of the schema and the graphs. What of all this has been seen to
pass is in the decision ([what is real in it](../decisions/0043-awss-own-provider-judges-its-graphs.md)).

**applied**: in the graph that the test applies. **judged**: in others alone, which the provider judges. **not shown**:
this version of the provider does not take it; the program's (pulumi-aws 7) bridges 6.x.
"""


@cache
def table() -> dict[str, Any]:
    """Return the contents of ``known.yaml``."""
    read: dict[str, Any] = read_table(Path(__file__).with_name("known.yaml"))
    return read


KNOWN = Known(table()["types"], table()["instead"])


def graphs() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the stacks that the table names, as shipped and then as variants, each with its graph."""
    for stack, variant in files():
        if stack in table()["stacks"]:
            yield stack, recorded(stack, variant)


def text(translations: Sequence[Translation]) -> str:
    """Return the page of these graphs' translations, in the order of ``graphs``."""
    stacks, applied = table()["stacks"], table()["applied"]
    applied_properties = translations[stacks.index(applied)].properties()
    everything: dict[str, dict[str, str]] = {}
    for translation in translations:
        for kind, properties in translation.properties().items():
            everything.setdefault(kind, {}).update(properties)
    for kind in table()["notSimulated"]:
        applied_properties.pop(kind, None)
    parts = [_section(kind, applied_properties.get(kind, {}), everything[kind]) for kind in sorted(everything)]
    back = sorted(table()["readBack"])
    return (
        _HEAD.format(
            stacks=" and ".join(f"`{each}`" for each in stacks),
            version=table()["version"],
            applied=applied,
            left_out=", ".join(f"`{each}`" for each in sorted(table()["notSimulated"])),
            but=f" (but {', '.join(f'`{each}`' for each in back)}, below)" if back else "",
        )
        + _differences()
        + "".join(parts)
    )


def _differences() -> str:
    differences = table()["readBack"]
    lines = "".join(f"| `{kind}` | {each['change']} | {each['why']} |\n" for kind, each in sorted(differences.items()))
    head = "\nRead back, these differ:\n\n| resource | a second plan | why |\n|---|---|---|\n"
    return head + lines if differences else ""


def _section(kind: str, applied_properties: dict[str, str], properties: dict[str, str]) -> str:
    instead = table()["instead"].get(kind, {})
    rows = {
        path: f"| `{path}` | `{at}` | {'applied' if path in applied_properties else 'judged'} |\n"
        for path, at in properties.items()
    }
    for name, sent in instead.items():
        rows = {path: row for path, row in rows.items() if path.partition(".")[0] != name}
        rows[name] = f"| `{name}` |  | not shown{f'; `{sent}` was sent' if sent is not None else ''} |\n"
    head = "| property | in Terraform | |\n|---|---|---|\n"
    return f"\n## `{kind}`\n\n{head}{''.join(rows[path] for path in sorted(rows))}"


def main() -> None:
    """Record the graphs, read the provider's schema and write the page. Raises ``NotHere``."""
    programs = find(table()["provider"], table()["version"])
    with tempfile.TemporaryDirectory() as folder:
        schema = Schema.read(Terraform(Path(folder), programs, {}).schema())
    translations = [Translation(graph, schema, KNOWN) for _, graph in graphs()]
    for each in translations:
        each.configuration()
    FILE.write_text(text(translations), encoding="utf-8")


if __name__ == "__main__":
    main()
