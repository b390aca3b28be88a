"""Generator of the CODEOWNERS in ``docs/examples/``, from what a changed file is to the gate.

Denied by default: everything has owners, and only what the gate judges completely, or what nothing reads, is free.
"""

from __future__ import annotations

from collections.abc import Iterator

from infra.gate.file_kinds import Kind, patterns

# Data that still has owners (production, leave to break a rule), and the file among the inert ones that names the
# owners where a forge would take it from.
OWNED = (
    ("Production", "/stacks/Pulumi.*prod*.yaml", "@example/platform-leads"),
    ("Production", "/stacks/Pulumi.onprem.yaml", "@example/platform-leads"),
    ("Waivers", "/waivers.yaml", "@example/security"),
    ("Owners", "/docs/CODEOWNERS", "@example/security"),
)
_EVERYTHING = "@example/platform-team"


def github() -> str:
    """Return the file for GitHub, where the last line that matches a file decides, and a line may name nobody."""
    lines = [
        "# Put this at .github/CODEOWNERS, with your teams. The last line that matches a file decides; a line without",
        "# owners gives it free. Written by `make docs` from infra/gate/file_kinds.json.",
        f"{'*':<32}{_EVERYTHING}",
        "# judged completely by the gate, or read by nothing that is run",
        *_free(),
        "# and still somebody's",
        *(f"{pattern:<32}{owners}" for _, pattern, owners in OWNED),
    ]
    return "\n".join(lines) + "\n"


def gitlab() -> str:
    """Return the file for GitLab, where a line must name somebody, `!` gives a file free in its section for good, and
    each section asks for an approval of its own."""
    lines = [
        "# Put this at CODEOWNERS in the root, with your groups: GitLab looks there before docs/ and .gitlab/. A",
        "# file that `!` gives free stays free in its section; the others ask for theirs. GitLab 17.11 or newer.",
        "# Written by `make docs` from infra/gate/file_kinds.json.",
        "[Program]",
        f"{'*':<32}{_EVERYTHING}",
        *(f"!{pattern}" for pattern in _free()),
        *(f"\n[{section}]\n{pattern:<32}{owners}" for section, pattern, owners in OWNED),
    ]
    return "\n".join(lines) + "\n"


def _free() -> Iterator[str]:
    for kind in (Kind.DATA, Kind.INERT):
        for pattern in patterns()[kind]:
            yield "/" + pattern.removesuffix("**")
