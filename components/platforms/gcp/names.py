"""Names within Google Cloud's rules, made from the stack's: pure, so that a plan shows them before anything exists."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from components.platforms.contract import About


def fitted(name: str, most: int) -> str:
    """Return ``name`` in at most ``most`` characters of a-z, 0-9 and -, beginning with a letter; a name that had to be
    changed ends in six hex digits of its hash, so that two names do not become one."""
    plain = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    plain = plain if plain[:1].isalpha() else f"e-{plain}"
    if plain == name and len(plain) <= most:
        return plain
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{plain[: most - 7].rstrip('-')}-{digest}"


def bucket_name(stack: str, project: str) -> str:
    """Return the bucket's name: 3 to 63 characters, unique in the world; the project's id makes it this stack's own."""
    return fitted(f"{stack}-models-{project.replace(':', '-').replace('.', '-')}", 63)


def account_id(stack: str, role: str) -> str:
    """Return a service account's id, which has 6 to 30 characters."""
    return fitted(f"{stack}-{role}", 30)


def labels(about: About) -> Mapping[str, str]:
    """Return the labels of everything that takes them. A label key may hold no colon, so the tags are written with a
    dash."""
    return {"ebbtide-stack": fitted(about.name, 63), "ebbtide-environment": fitted(about.environment, 63)}


def cluster_path(project: str, region: str, name: str) -> str:
    """Return the path that identifies a cluster for good, whatever happens to its endpoint or certificate."""
    return f"projects/{project}/locations/{region}/clusters/{name}"


def workload_pool(project: str) -> str:
    """Return the identity pool that GKE keeps for a project."""
    return f"{project}.svc.id.goog"


def principal(project: str, project_number: str, namespace: str, service_account: str) -> str:
    """Return a Kubernetes service account as IAM knows it, without a Google service account in between. The pool is the
    project's: the same namespace and name in another cluster of the project is the same principal.

    Source: Google Cloud documentation, Authenticate to Google Cloud APIs from GKE workloads.
    """
    pool = f"projects/{project_number}/locations/global/workloadIdentityPools/{workload_pool(project)}"
    return f"principal://iam.googleapis.com/{pool}/subject/ns/{namespace}/sa/{service_account}"
