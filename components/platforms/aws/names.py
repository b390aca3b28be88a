"""Names that are known before anything exists: partition, addresses, ARNs, the bucket. Pure."""

from __future__ import annotations

import hashlib

IMAGES = ("vllm", "gateway", "mirror")
"""The registry's repositories, below the stack's name."""
_PARTITIONS = {"cn": "aws-cn", "us-gov": "aws-us-gov"}


def partition(region: str) -> str:
    """Return the part of AWS a region belongs to. Source: AWS General Reference, Amazon Resource Names."""
    return next((name for prefix, name in _PARTITIONS.items() if region.startswith(f"{prefix}-")), "aws")


def domain(region: str) -> str:
    """Return the domain that service hosts end in."""
    return "amazonaws.com.cn" if partition(region) == "aws-cn" else "amazonaws.com"


def registry_host(account: str, region: str) -> str:
    """Return the host of an account's private registry. Source: ECR user guide, Private registries."""
    return f"{account}.dkr.ecr.{region}.{domain(region)}"


def managed_policy(region: str, name: str) -> str:
    """Return the ARN of one of AWS's own policies."""
    return f"arn:{partition(region)}:iam::aws:policy/{name}"


def cluster_arn(account: str, region: str, name: str) -> str:
    """Return a cluster's ARN, the same for as long as the cluster exists."""
    return f"arn:{partition(region)}:eks:{region}:{account}:cluster/{name}"


def bucket_name(stack: str, account: str) -> str:
    """Return the weights' bucket: ``<stack>-models-<account>``, in at most 63 characters of a-z, 0-9 and -.

    All accounts of a partition share the names, so the account's number is in it; a long stack name is cut and
    distinguished by a hash. Source: S3 user guide, General purpose bucket naming rules.
    """
    tail = f"-models-{account}"
    clean = stack.lower().replace("_", "-").replace(".", "-").strip("-")
    room = 63 - len(tail)
    if len(clean) > room:
        clean = f"{clean[: room - 9].rstrip('-')}-{hashlib.sha256(stack.encode()).hexdigest()[:8]}"
    return clean + tail


def prefix(name: str, longest: int = 37) -> str:
    """Return a name prefix ending in ``-``, cut to what EKS and IAM leave beside the suffix the provider adds (26)."""
    return f"{name[: longest - 1].rstrip('-')}-"


def role_prefix(*parts: str) -> str:
    """Return a role's name prefix: 38 of IAM's 64 characters. Source: IAM user guide, IAM and STS quotas. The last part
    is the role's purpose, so a long stack name is what gets cut."""
    *before, last = parts
    return f"{prefix('-'.join(before), 38 - len(last) - 1)}{last}-"
