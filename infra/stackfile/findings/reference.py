"""Every rule of the product, and ``docs/findings.md``, which is written from them.

``python -m infra.stackfile.findings.reference > docs/findings.md`` after a rule has changed; a test holds the two
together.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType

from components.platforms.kinds import KINDS
from components.typed.refusal import Rule
from components.typed.rules import file, planner, pools, stack, waivers

_HEAD = """\
# Findings

What `ebbtide plan`, `fit`, `gate` and every command that reads a stack file find wrong, by code. A finding names the
file and the path in it, the value, what is allowed and how to mend it; this page says the same once for all stacks. All
findings of a file come in one run. A code never changes its meaning, and a number that is not here is not given out.
The page is written by `python -m infra.stackfile.findings.reference`, out of the rules that the program uses.

- **error**: it can never work. **mandatory**: it breaks a policy. Both stop the stack before anything is created; a
  waiver lifts a mandatory finding for a while, which then is a warning ([policies.md](policies.md#waivers)), and never
  an error. **warning**: it only tells.
- Messages go to the terminal like
  `stacks/Pulumi.x.yaml: models.a.gpus: 0 is less than 1; allowed: …; fix: … [EBB001 error]`; with `--format json` the
  same parts are `code`, `severity`, `file`, `path`, `value`, `message`, `allowed`, `fix`.
"""


@cache
def rules() -> tuple[Rule, ...]:
    """All of them, in the order of their codes."""
    found = [value for module in modules() for value in vars(module).values() if isinstance(value, Rule)]
    return tuple(sorted(found, key=lambda rule: rule.code))


def waivable() -> tuple[str, ...]:
    """The codes of findings that a waiver can lift: those that break a policy, and no error."""
    return tuple(rule.code for rule in rules() if "mandatory" in rule.severities)


def findings_page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    headings = {code: heading for module in modules() for code, heading in module.SECTIONS.items()}
    for rule in rules():
        if rule.code in headings:
            yield f"\n## {headings[rule.code]}\n" if rule != rules()[0] else f"## {headings[rule.code]}\n"
            yield "| code | severity | what is wrong | allowed | how to mend it |\n|---|---|---|---|---|"
        cells = (rule.code, " or ".join(rule.severities), rule.title, rule.allowed, rule.fix)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def modules() -> list[ModuleType]:
    """What holds rules: those of all platforms, and the file ``rules.py`` of each that has its own."""
    own = [importlib.import_module(f"{kind.package}.rules") for kind in KINDS.values() if kind.has("rules")]
    return [stack, file, pools, planner, waivers, *own]


if __name__ == "__main__":
    sys.stdout.write(findings_page())
