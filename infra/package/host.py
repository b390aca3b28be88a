"""The process that Pulumi starts for the package: it serves the schema and builds components."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from typing import Any

import pulumi
from pulumi.errors import InputPropertiesError
from pulumi.provider import main
from pulumi.provider.experimental.component import ComponentProvider
from pulumi.provider.server import ComponentInitError

from infra.package.stack import Stack

NAME = "ebbtide"


class Package(ComponentProvider):
    """The package's provider. A refused stack is shown as its findings and not as a traceback."""

    def __init__(self) -> None:
        super().__init__([Stack], NAME, version=version(NAME))
        self._stack: str | None = None

    @property
    def schema_text(self) -> str:
        """Return the schema as it is checked in."""
        return json.dumps(json.loads(self.schema or ""), indent=1) + "\n"

    def construct(
        self, name: str, resource_type: str, inputs: Any, options: pulumi.ResourceOptions | None = None
    ) -> Any:
        if self._stack not in (None, name):
            why = (
                f"there is a Stack {self._stack!r} already; allowed: one in a program, its namespaces have fixed names"
            )
            raise InputPropertiesError(why, [{"property_path": "config", "reason": why}])
        self._stack = name
        try:
            return super().construct(name, resource_type, inputs, options)
        except ComponentInitError as error:
            if isinstance(error.inner, InputPropertiesError):
                raise error.inner from None
            if isinstance(error.inner, pulumi.RunError):
                errors = [{"property_path": "config.platform", "reason": str(error.inner)}]
                raise InputPropertiesError("the stack cannot be built", errors) from None  # type: ignore[arg-type]
            raise


def serve() -> None:
    """Serve until the engine ends this process."""
    main(Package(), sys.argv[1:])
