"""The component that implements the contract, from the stack file's platform and pools. Knows no kind by name."""

from __future__ import annotations

from dataclasses import replace

import pulumi

from components.platforms.contract import About, Platform, PoolRequest
from components.platforms.kinds import kind_of
from components.platforms.local.facts import local_facts
from components.vllm_image.build import BASE_ROLES
from infra.stackfile.findings.finding import ConfigError
from infra.stackfile.load import finding
from infra.stackfile.pool_order import preferences
from infra.stackfile.pool_request import pool_request
from infra.stackfile.schema.stack import StackConfig
from infra.stackfile.timeouts import longest_silence_seconds

__all__ = ["about", "create", "inspect_machine", "local_facts", "requests"]


def requests(stack: StackConfig) -> dict[str, PoolRequest]:
    """Return the requests to the place, by pool; the GPU layer needs them beside what the place made from them."""
    order, _ = preferences({name: model.pools for name, model in stack.models.items()})
    unordered = {name: pool_request(declared) for name, declared in stack.pools.items()}
    return {name: replace(request, preference=order.get(name, 0)) for name, request in unordered.items()}


def about(stack: StackConfig, project: str, name: str) -> About:
    """Return what the place needs to know about the stack called ``name`` of ``project``."""
    return About(
        name=f"{project}-{name}",
        environment=stack.environment,
        protect=stack.protect,
        longest_silence_seconds=longest_silence_seconds(stack),
    )


def inspect_machine(stack: StackConfig, file: str) -> None:
    """Let the place check this machine (a kubeconfig's context, a signed-in account) before anything is made.

    Raises ``ConfigError`` with all findings if any of them stops the stack. ``file`` only names the place.
    """
    findings = [finding(problem, file) for problem in kind_of(stack.platform).inspect_machine(stack.platform)]
    if any(each.stops for each in findings):
        raise ConfigError(findings)
    for warning in findings:
        pulumi.log.warn(str(warning))


def create(stack: StackConfig) -> Platform:
    """Build the place the stack file names; ``inspect_machine`` comes before."""
    about_stack = about(stack, pulumi.get_project(), pulumi.get_stack())
    return with_base(kind_of(stack.platform).build()(stack.platform, requests(stack), about_stack), stack.image.base)


def with_base(platform: Platform, base: str | None) -> Platform:
    """Return ``platform`` with the stack file's base image for the CUDA engine in its registry."""
    if base is None:
        return platform
    bases = {**platform.registry.base_images, BASE_ROLES["cuda"]: base}
    return replace(platform, registry=replace(platform.registry, base_images=bases))
