"""From the stack file's platform and pools to the component that implements the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pulumi

from components.platforms import contract
from components.platforms.existing import ExistingPlatform, ExistingSettings
from components.platforms.local import LocalPlatform
from components.platforms.local.facts import LocalFacts, facts_file
from infra.config import platform as config
from infra.config.pool import PoolConfig
from infra.config.stack import StackConfig


def pool(declared: PoolConfig) -> contract.Pool:
    """The scheduler's view of a declared pool."""
    return contract.Pool(
        name=declared.name,
        labels=dict(declared.labels),
        taints=tuple(contract.Taint(t.key, t.value, t.effect) for t in declared.taints),
        gpus_per_node=declared.gpu.count,
        gpu_resource=declared.gpu.resource,
        min_nodes=declared.min,
        max_nodes=declared.max,
        node_image=declared.node_image,
        device=declared.device,
    )


def existing_settings(declared: config.ExistingPlatform) -> ExistingSettings:
    """The administrator's values, in the contract's terms."""
    registry, ingress = declared.registry, declared.ingress
    return ExistingSettings(
        context=declared.context,
        registry=contract.Registry(registry.address, insecure=registry.insecure, pull_secret=registry.pull_secret),
        model_claim=declared.model_store.claim,
        kubeconfig=str(Path(declared.kubeconfig).expanduser()),
        storage_class=declared.storage_class,
        ingress=contract.Ingress(
            ingress.service_type, ingress.node_port, annotations=dict(ingress.annotations), url=ingress.url
        ),
    )


def local_facts() -> LocalFacts | None:
    """What the machine under the local stack says; None where none is up. Raises RunError for a stack that needs it."""
    try:
        return LocalFacts.load(facts_file())
    except (OSError, ValueError, TypeError, KeyError):
        return None


def create(stack: StackConfig, facts: LocalFacts | None) -> contract.Platform:
    """The place the stack file names."""
    pools = {name: pool(declared) for name, declared in stack.pools.items()}
    nodes: Mapping[str, Sequence[str]] = {name: declared.nodes for name, declared in stack.pools.items()}
    if isinstance(stack.platform, config.LocalPlatform):
        if facts is None:
            raise pulumi.RunError("the local cluster is not up: run `make local` or `ebbtide local up` first")
        return LocalPlatform(facts, pools, nodes).platform
    return ExistingPlatform(existing_settings(stack.platform), pools, nodes).platform
