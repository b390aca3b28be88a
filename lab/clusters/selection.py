"""From the choice to the cluster: what is asked of this machine, and which class answers."""

from __future__ import annotations

import os
import sys

from infra.workspace import Paths
from lab import docker
from lab.clusters.base import LocalCluster
from lab.clusters.choice import Choice, Wishes, settle
from lab.clusters.context import ContextCluster
from lab.clusters.kind import NODE_IMAGE, KindCluster
from lab.clusters.lab import LabCluster


def find(at: Paths, wanted: Wishes, *, docker_answers: bool, images: bool) -> Choice:
    """This run's cluster. ``images``: public ones can be pulled; without, kind needs its node image to be there.
    ``EBBTIDE_CLUSTER=lab`` asks for the lab where Docker runs too: what the tests of the running stack look at."""
    kind_can = (
        os.environ.get("EBBTIDE_CLUSTER") != "lab" and docker_answers and (images or docker.has("image", NODE_IMAGE))
    )
    linux_root = sys.platform == "linux" and os.geteuid() == 0
    return settle(Choice.load(at), wanted, docker=kind_can, linux_root=linux_root)


def made(choice: Choice, at: Paths) -> LocalCluster:
    """The class behind a choice."""
    if choice.kind == "context":
        return ContextCluster(at, choice.wishes)
    return KindCluster(at) if choice.kind == "kind" else LabCluster(at)


def recorded(at: Paths) -> LocalCluster:
    """The cluster that `up` chose; the lab where nothing tells, whose end is harmless when it never was."""
    return made(Choice.load(at) or Choice("lab"), at)
