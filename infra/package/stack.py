"""The component that other programs use: a whole stack, from the same keys as a stack file's."""

# no annotations as text: Pulumi makes the schema from the types themselves
from collections.abc import Mapping
from typing import Any, Optional, TypedDict

import pulumi
from pulumi.errors import InputPropertiesError

from infra.planner.plan import Plan
from infra.program.build import build, judged, usable_waivers
from infra.recorder.pulumi_internals import default_parent
from infra.stackfile.findings.finding import ConfigError
from infra.stackfile.load import read_values

FILE = "config"


class StackArgs(TypedDict):
    """Arguments of a stack."""

    config: dict[str, Any]
    """The keys that a stack file has under `ebbtide:` (`environment`, `platform`, `pools`, `models`, …), as
    docs/stack-file.md lists them. Values must be known when the program runs: outputs of resources are refused."""


class Stack(pulumi.ComponentResource):
    """A place, its GPU node pools at zero, and the models on them behind one authenticated, OpenAI-compatible endpoint.
    One of it in a Pulumi stack."""

    endpoint: pulumi.Output[str]
    """The gateway's address, without `/v1`."""
    models: pulumi.Output[list[str]]
    """The names of the models."""
    api_keys: pulumi.Output[dict[str, str]]
    """The generated keys by name; a secret."""

    def __init__(self, name: str, args: StackArgs, opts: Optional[pulumi.ResourceOptions] = None) -> None:  # noqa: UP045
        plan = _judged(args["config"])  # before this resource is registered: nothing is made of what is refused
        super().__init__("ebbtide:index:Stack", name, {}, opts)
        if opts is not None and opts.providers:
            pulumi.log.warn("providers given to a Stack are not used: config.platform says where it is made", self)
        with default_parent(self):
            served = build(plan)
        keys: Any = dict(served.api_keys)
        self.endpoint = served.endpoint
        self.models = pulumi.Output.from_input(list(plan.stack.models))
        self.api_keys = pulumi.Output.secret(keys)
        self.register_outputs({"endpoint": self.endpoint, "models": self.models, "apiKeys": self.api_keys})


def _judged(config: Any) -> Plan:
    values = plain_values(config)
    try:
        return judged(read_values(values, FILE, usable_waivers()))
    except ConfigError as refused:
        stops = [each for each in refused.findings if each.stops]
        raise InputPropertiesError(
            "the stack cannot be built",
            [{"property_path": f"{FILE}.{each.path}", "reason": str(each)} for each in stops],
        ) from None


def plain_values(value: Any, at: str = FILE) -> Any:
    """Return the values as a stack file would hold them: whole numbers as ``int``, since all come as doubles.

    Raises ``InputPropertiesError`` with the path of every output among them.
    """
    outputs = [*_outputs(value, at)]
    if outputs:
        why = (
            "is an output or a secret; allowed: values that are known when the program runs; fix: write the value, "
            "and no secret: keys are generated, others are named by Kubernetes Secrets"
        )
        raise InputPropertiesError("outputs in config", [{"property_path": path, "reason": why} for path in outputs])
    return _whole_numbers(value)


def _outputs(value: Any, at: str) -> list[str]:
    if isinstance(value, pulumi.Output):
        return [at]
    if isinstance(value, Mapping):
        return [path for key, item in value.items() for path in _outputs(item, f"{at}.{key}")]
    if isinstance(value, list):
        return [path for index, item in enumerate(value) for path in _outputs(item, f"{at}[{index}]")]
    return []


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _whole_numbers(item) for key, item in value.items()}
    return [_whole_numbers(item) for item in value] if isinstance(value, list) else value
