"""Rules for what the clouds themselves keep private, encrypted and logged; ``clouds.yaml`` has each one's spelling."""

from __future__ import annotations

from collections.abc import Mapping

from infra.policies.clouds import checked
from infra.policies.model import CLOUD, PROD_ONLY, Level, Rule


def _rule(id: str, levels: Mapping[str, Level], *, title: str, reason: str, fix: str, key: str = "platform") -> Rule:
    """Build a rule that judges by its rows in ``clouds.yaml``."""
    return Rule(
        id=id, title=title, reason=reason, key=key, fix=fix, scope="stack", levels=levels,
        judge=lambda graph, settings: checked(id, graph),
    )  # fmt: skip


audit_log = _rule(
    "audit-log",
    PROD_ONLY,
    title="In production the API keeps an audit log",
    reason="without it nobody can tell who did what",
    key="platform.cluster",
    fix="leave the log to the product",
)
bucket_encrypted = _rule(
    "bucket-encrypted",
    CLOUD,
    title="The bucket of the weights is encrypted with a key of the stack",
    reason="whoever loses the key loses access: that is how it is withdrawn",
    fix="leave the key to the product",
)
bucket_private = _rule(
    "bucket-private",
    CLOUD,
    title="The bucket of the weights is private",
    reason="weights are licensed, and a public bucket is paid for by the byte",
    fix="leave the bucket to the product",
)
private_api = _rule(
    "private-api",
    PROD_ONLY,
    title="In production the API of the cluster is private",
    reason="an API open to the internet is one leaked credential away from everything",
    key="platform.cluster.apiAllowedNetworks",
    fix="leave apiAllowedNetworks empty, or name your own networks",
)
registry_private = _rule(
    "registry-private",
    CLOUD,
    title="The registry is private, encrypted and scanned",
    reason="what is pulled from it runs with the keys of the stack",
    fix="leave the registry to the product",
)
secrets_encrypted = _rule(
    "secrets-encrypted",
    PROD_ONLY,
    title="In production Secrets are encrypted with a key of the stack",
    reason="keys and tokens in the store of the cluster are else readable to who gets a copy of it",
    key="platform.cluster",
    fix="leave the key to the product",
)
