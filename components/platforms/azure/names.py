"""Names within Azure's rules, made from the stack's: pure, so that a plan can show them before anything exists.

Source of every length and character here: Azure Resource Manager documentation, Naming rules and restrictions.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from components.platforms.contract import About

NODE_POOL_LENGTH: Final = 12
_HASH: Final = 8


def digest(*parts: str, length: int = _HASH) -> str:
    """Return ``length`` hexadecimal digits of the parts' hash, which make a world-wide name this stack's own."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:length]


def _letters(name: str) -> str:
    squeezed = re.sub(r"[^a-z0-9]", "", name.lower())
    return squeezed if squeezed[:1].isalpha() else f"e{squeezed}"


def storage_account(stack: str, subscription: str) -> str:
    """Return a name of 3 to 24 of a-z and 0-9, unique in the world."""
    return _letters(stack)[: 24 - _HASH] + digest("storage", stack, subscription)


def registry(stack: str, subscription: str) -> str:
    """Return a name of 5 to 50 letters and digits, unique in the world."""
    return _letters(stack)[: 50 - _HASH] + digest("registry", stack, subscription)


def vault_prefix(stack: str) -> str:
    """Return a Key Vault's name (3 to 24 letters, digits and -) up to its random end of 7 characters."""
    plain = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")
    return (plain if plain[:1].isalpha() else f"e-{plain}")[:16].rstrip("-")


def node_pool(pool: str) -> str:
    """Return a name of 1 to 12 of a-z and 0-9 beginning with a letter; a longer one ends in digits of its hash.

    Source: AKS documentation, Create node pools in AKS, Limitations.
    """
    plain = _letters(pool)
    return plain if len(plain) <= NODE_POOL_LENGTH else plain[: NODE_POOL_LENGTH - 4] + digest(pool, length=4)


def scale_set(pool: str) -> str:
    """Return a regular expression that finds the scale set of a node pool, and so the group the autoscaler knows:
    ``aks-POOL-DIGITS-vmss``. A node pool's name has no dash, so no other's begins like it.

    Source: kubernetes/autoscaler, pull request 1896 (cloudprovider/azure, README.md).
    """
    return f"^aks-{node_pool(pool)}-"


def resource_group(about: About) -> str:
    """Return the name of the one group for everything the stack makes."""
    return about.name[:90]


def cluster(about: About) -> str:
    """Return a name of at most 63 letters, digits, - and _."""
    return about.name[:63].rstrip("-_")


def cluster_id(subscription: str, group: str, name: str) -> str:
    """Return the id that identifies a cluster for good, whatever happens to its endpoint or certificate."""
    return (
        f"/subscriptions/{subscription}/resourceGroups/{group}"
        f"/providers/Microsoft.ContainerService/managedClusters/{name}"
    )


def tags(about: About) -> Mapping[str, str]:
    """Return the tags of everything that takes them."""
    return {"ebbtide:stack": about.name, "ebbtide:environment": about.environment}
