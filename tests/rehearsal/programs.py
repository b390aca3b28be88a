"""Build what the rehearsals' clusters run: ``python -m tests.rehearsal.programs``, at once over where it is there.

Before the tests and not within one: the first build takes longer than any test may.
"""

from __future__ import annotations

from infra.console import say
from infra.workspace import paths
from lab.toolchain.go_programs import build_rehearsal

if __name__ == "__main__":
    build_rehearsal(paths(), lambda name: say(f"    building {name}"), lambda line: None)
