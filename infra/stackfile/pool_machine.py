"""The machine a pool names, looked up in the catalogue of the place that sells it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from components.catalog.machine import Machine
from components.platforms.kinds import KINDS
from components.typed.rules.stack import MACHINE_UNKNOWN, MACHINE_WITHOUT_GPU
from components.typed.tables import read_table

_WITHOUT_GPU = Path(__file__).with_name("without_gpu.yaml")


def makes_nodes(place: str) -> bool | None:
    """Return True if the pools of this kind of place are made of machines; None if the kind is unknown."""
    return KINDS[place].makes_nodes if place in KINDS else None


def find(place: str, name: str | None) -> Machine | None:
    """Return the machine's row of the catalogue; None if there is none."""
    if name is None or not makes_nodes(place):
        return None
    from components.catalog import machines

    return machines.find(place, name)


def gpu_of(place: str, name: str | None) -> dict[str, Any] | None:
    """Return the ``gpu`` of a pool as its machine has it; None if the machine is not in the catalogue."""
    machine = find(place, name)
    if machine is None:
        return None
    return {"count": machine.gpus, "product": machine.gpu, "memory": f"{round(machine.gpu_memory_gib * 1024)}Mi"}


def _check(value: Any, info: ValidationInfo) -> Any:
    place = info.data.get("place", "")
    fix = "use a machine of the catalogue"
    if value is not None and not isinstance(value, str):
        raise MACHINE_UNKNOWN.refusal("is not the name of a machine", allowed="a machine of the catalogue", fix=fix)
    if value is None or not makes_nodes(place):
        return value
    if find(place, value) is None:
        fix = f"use a machine of components/catalog/machines/{place}.yaml"
        if re.match(_without_gpu().get(place, r"(?!)"), value):
            raise MACHINE_WITHOUT_GPU.refusal(
                "has no GPU", allowed="a machine with GPUs that the platform sells", fix=fix
            )
        from components.catalog import machines

        near = machines.near(place, value)
        raise MACHINE_UNKNOWN.refusal(
            "is not a machine this catalogue knows",
            allowed="a machine with GPUs that the platform sells",
            fix=f"did you mean {near}?" if near else fix,
        )
    return value


@cache
def _without_gpu() -> dict[str, str]:
    places: dict[str, str] = read_table(_WITHOUT_GPU)["places"]
    return places


MachineName = Annotated[str, BeforeValidator(_check)]
