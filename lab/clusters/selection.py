"""Selection of the cluster: what this machine can run, and the class behind the choice."""

from __future__ import annotations

import os
import sys

from infra.workspace import Paths
from lab import docker
from lab.clusters.base import LocalCluster
from lab.clusters.choice import Choice, ClusterOptions, settle
from lab.clusters.context import ContextCluster
from lab.clusters.kind import NODE_IMAGE, KindCluster
from lab.clusters.lab import LabCluster


def find(at: Paths, options: ClusterOptions, *, docker_answers: bool, images: bool) -> Choice:
    """Return this run's choice. ``images``: public ones can be pulled; otherwise Docker must have kind's node image.
    ``EBBTIDE_CLUSTER=lab`` selects the lab even where Docker runs, for the tests of the running stack."""
    kind_can = (
        os.environ.get("EBBTIDE_CLUSTER") != "lab" and docker_answers and (images or docker.has("image", NODE_IMAGE))
    )
    linux_root = sys.platform == "linux" and os.geteuid() == 0
    return settle(Choice.load(at), options, docker=kind_can, linux_root=linux_root)


def cluster_of(choice: Choice, at: Paths) -> LocalCluster:
    """Return the cluster of a choice."""
    if choice.kind == "context":
        return ContextCluster(at, choice.options)
    return KindCluster(at) if choice.kind == "kind" else LabCluster(at)


def recorded(at: Paths) -> LocalCluster:
    """Return the cluster that `up` chose; the lab where none is recorded: ending one that never ran is harmless."""
    return cluster_of(Choice.load(at) or Choice("lab"), at)
