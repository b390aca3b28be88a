"""Generator of ``docs/findings.md``, from the rules that the program uses."""

from __future__ import annotations

from collections.abc import Iterator

from infra.stackfile.findings.registry import modules, rules

_HEAD = """\
# Findings

What `ebbtide plan`, `fit`, `gate` and every command that reads a stack file find wrong, by code. A finding names the
file and the path in it, the value, what is allowed and how to mend it; this page says the same once for all stacks. All
findings of a file come in one run. A code never changes its meaning, and a number that is not here is not given out.
The page is written by `make docs`, out of the rules that the program uses.

- **error**: it can never work. **mandatory**: it breaks a policy. Both stop the stack before anything is created; a
  waiver lifts a mandatory finding for a while, which then is a warning ([policies.md](policies.md#waivers)), and never
  an error. **warning**: it only tells; some say that a code owner has to agree before a change with them is merged
  ([policies.md](policies.md#findings-that-need-a-code-owner)).
- Messages go to the terminal like
  `stacks/Pulumi.x.yaml: models.a.gpus: 0 is less than 1; allowed: …; fix: … [EBB001 error]`; with `--format json` the
  same parts are `code`, `severity`, `file`, `path`, `value`, `message`, `allowed`, `fix`.
"""


def findings_page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *_sections()]).rstrip() + "\n"


def _sections() -> Iterator[str]:
    headings = {code: heading for module in modules() for code, heading in module.SECTIONS.items()}
    for rule in rules():
        if rule.code in headings:
            yield f"\n## {headings[rule.code]}\n" if rule != rules()[0] else f"## {headings[rule.code]}\n"
            yield "| code | severity | what is wrong | allowed | how to mend it |\n|---|---|---|---|---|"
        cells = (rule.code, " or ".join(rule.severities), rule.title, rule.allowed, rule.fix)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
