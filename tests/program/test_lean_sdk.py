"""A plan imports the parts of an SDK that the program uses, and gets from them what the whole SDK would give."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = r"""
import json, re, sys
from contextlib import nullcontext
from pathlib import Path
from infra.recorder.lean_sdk import lean

def modules():
    return sorted(name for name in sys.modules if name.startswith("pulumi_kubernetes.apps.v1."))

with lean() if sys.argv[1] == "lean" else nullcontext():
    import pulumi_kubernetes.apps.v1 as apps
    early, folder = modules(), Path(apps.__file__).parent
    sources = re.findall(r"^from \.(\w+) import", (folder / "__init__.py").read_text(), re.M)
    names = re.findall(r"^class ([A-Z]\w+)", "".join((folder / f"{each}.py").read_text() for each in sources), re.M)
    found = {name: getattr(apps, name).__module__ for name in names if hasattr(apps, name)}
    print(json.dumps([early, found, hasattr(apps, "Nothing"), apps.outputs.__name__]))
"""


def read(how: str) -> list[object]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told: list[object] = json.loads(done.stdout)
    return told


def test_a_package_gives_the_same_names_in_parts_as_whole() -> None:
    early, names, nothing, outputs = read("lean")
    whole_early, whole_names, whole_nothing, whole_outputs = read("whole")
    assert names == whole_names
    assert len(str(names)) > 1000
    assert (nothing, outputs) == (whole_nothing, whole_outputs) == (False, "pulumi_kubernetes.apps.v1.outputs")
    assert early == []
    assert len(str(whole_early)) > 500
