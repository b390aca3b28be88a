"""Imports that several threads of a stand-in need at once."""

from __future__ import annotations

import subprocess
import sys

TOGETHER = """
import sys, threading
sys.setswitchinterval(1e-5)
from infra.local.plugins.clouds import sdk
from infra.local.plugins.kube import drift
errors, start = [], threading.Barrier(2)
def run(what):
    start.wait()
    try:
        what()
    except BaseException as error:
        errors.append(repr(error))
threads = [threading.Thread(target=run, args=(what,)) for what in (
    lambda: drift._equivalent(("limits", "cpu"), "1", "1000m"),
    lambda: sdk.shape("kubernetes:helm.sh/v3:Release"),
)]
[t.start() for t in threads]; [t.join() for t in threads]
print(errors)
"""


def test_two_resources_that_need_the_same_library_first_both_get_it_whole() -> None:
    done = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
