"""Generator of ``docs/cloud-schemas.md``: which property of which resource is held against a published schema, and how.

``python -m scripts.cloud_schemas.page`` writes it from the graphs of the shipped stacks and their variants. It needs
the clouds' SDKs and the schemas (``make setup-all``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from infra.workspace import PROJECT
from scripts.cloud_schemas import wheels
from scripts.cloud_schemas.check import CheckedValue, check_inputs
from scripts.cloud_schemas.resources import is_ours, request, table
from scripts.shape_graphs import files, recorded

FILE = PROJECT / "docs" / "cloud-schemas.md"
CHECKS = ("type", "words", "pattern", "length", "range", "required", "late")
_HEAD = """\
# What is held against the clouds' published schemas

The graphs of {stacks}, and of their variants in
`scripts/shape_variants.yaml`, are held property by property against what the clouds publish of their APIs: Azure
Resource Manager's models of the API version that the SDK sends, and Google's discovery documents of the API that the
provider calls. `tests/program/test_cloud_schemas.py` does it at each run; this page is written out of the same run by
`python -m scripts.cloud_schemas.page`, so a check that stands here was made
([why so](decisions/0031-graphs-are-held-against-published-schemas.md)).

Each property exists there, is not read-only and, where a schema tells it, not deprecated without being known here.
Then, as far as the schema says it: **type**; **words**, one of an enumeration; **pattern**; **length**; **range**;
**required**, and present. **late**: the value is only known after `up`, in some graph or in all; without **type**
beside it no value was seen. A place in braces is part of the address, not of the body.

Not looked at: words that a schema gives in prose alone, what depends on a second property, on the account or on the
region, names that Pulumi makes, and whether a service still offers an API version. AWS publishes no such schemas: its
own Terraform provider is asked ([about what](results/aws-provider.md)).
"""

Rows = dict[str, dict[str, list[CheckedValue]]]


def everything() -> Iterator[tuple[str, CheckedValue]]:
    """Yield the type of each resource in the graphs, with each value of it that was looked at."""
    for stack, config in files():
        if stack in table()["stacks"]:
            for entry in recorded(stack, config):
                if entry["custom"] and is_ours(entry["type"]):
                    if entry["type"] not in table()["resources"]:
                        yield entry["type"], CheckedValue("", fault="is not in resources.yaml")
                        continue
                    schema = request(entry["type"])
                    for checked in check_inputs(entry["inputs"], schema.fields, schema.names):
                        yield entry["type"], checked


def rows(values: Sequence[tuple[str, CheckedValue]]) -> Rows:
    """Return what was looked at by type and path, both in order. Objects are left to the properties in them."""
    by_kind: Rows = {}
    for kind, checked in sorted(values, key=lambda each: (each[0], each[1].path)):
        by_kind.setdefault(kind, {}).setdefault(checked.path, []).append(checked)
    return {
        kind: {path: all_ for path, all_ in paths.items() if not any(each.startswith(f"{path}.") for each in paths)}
        for kind, paths in by_kind.items()
    }


def text(by_kind: Rows) -> str:
    """Return the page."""
    stacks = table()["stacks"]
    head = _HEAD.format(stacks=f"{', '.join(f'`{stack}`' for stack in stacks[:-1])} and `{stacks[-1]}`")
    return head + "".join(part for kind, paths in by_kind.items() for part in _section(kind, paths))


def _section(kind: str, paths: Mapping[str, Sequence[CheckedValue]]) -> Iterator[str]:
    schema = request(kind)
    package = f"{schema.package.replace('_', '-')} {wheels.version(schema.package)}"
    other = "" if schema.sends == schema.version else f"; the SDK sends {schema.sends}, which no package carries"
    yield f"\n## `{kind}`\n\n`{schema.message}` of {schema.version} ({package}{other}).\n\n"
    yield "| property | in the API | checks |\n|---|---|---|\n"
    for path, all_ in paths.items():
        apart = next((each.apart for each in all_ if each.apart), "")
        at = min(each.at for each in all_)
        done = {check for each in all_ for check in each.checks}
        old = any(f"{path}.".startswith(f"{each}.") for each in schema.names.deprecated)
        checks = ", ".join([check for check in CHECKS if check in done] + ["deprecated there"] * old)
        yield f"| `{path}` | {'' if at in ('', path) else f'`{at}`'} | {f'none: {apart}' if apart else checks} |\n"


def main() -> None:
    """Record all graphs and write the page."""
    FILE.write_text(text(rows(list(everything()))), encoding="utf-8")


if __name__ == "__main__":
    main()
