"""kube-router from its Go module: it enforces NetworkPolicies on the lab's nodes, and does nothing else there.

The lab's two nodes share one network, with one set of firewall rules, so one process has to take the pods of both for
its own. It knows its pods by the address of their node: that condition is taken out before it is built.
"""

from __future__ import annotations

from typing import Final

from lab.toolchain.keda import GoModule, ModuleProgram
from lab.toolchain.source_edit import Edit

NAME: Final = "kube-router"
MODULE: Final = GoModule(
    "github.com/cloudnativelabs/kube-router/v2", "v2.1.0", "h1:xWsptKtmZ44L+NjwFKoFAFlVdxCz8fka9A/eYJe95Ok="
)
PROGRAM: Final = ModuleProgram(
    name=NAME,
    module=MODULE,
    package=f"./cmd/{NAME}",
    ldflags=f"-X {MODULE.path}/pkg/version.Version={MODULE.version}",
    tags="",
)
EDIT: Final = Edit("pkg/controllers/netpol/pod.go", "strings.Compare(pod.Status.HostIP, nodeIP) != 0 || ", "")
