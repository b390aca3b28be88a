"""The GPU products: ``gpus.yaml`` beside this file, read once and checked."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.catalog.machine import UNKNOWN_SHARE
from components.typed.tables import read_table

_FILE = Path(__file__).with_name("gpus.yaml")


class Gpu(BaseModel):
    """One product. ``memory_gib`` is that of one card, ``cuda_gib`` what a program gets of it (None: nobody looked);
    ``mig`` gives the instances of each profile when a card is cut into that profile alone: empty if it cannot be cut,
    None if the profiles have not been looked up."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    memory_gib: float = Field(gt=0)
    cuda_gib: float | None = Field(gt=0)
    compute_capability: str = Field(pattern=r"[0-9]+\.[0-9]")
    nvlink: bool
    mig: Mapping[str, Annotated[int, Field(ge=1, le=7)]] | None

    @property
    def usable_gib(self) -> float:
        """Return the memory that CUDA gives a program, or a careful guess where that is not known."""
        return self.cuda_gib or self.memory_gib * UNKNOWN_SHARE

    @property
    def can_be_cut(self) -> bool:
        """Return True unless the card is known to have no MIG."""
        return self.mig is None or bool(self.mig)


def _named(gpus: Mapping[str, Gpu]) -> Mapping[str, Gpu]:
    if not gpus:
        raise ValueError("has no GPU")
    return gpus


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    read_on: object
    source: list[str] = Field(min_length=1)
    gpus: Annotated[Mapping[str, Gpu], AfterValidator(_named)]


@cache
def gpus(file: Path = _FILE) -> Mapping[str, Gpu]:
    """Return every product by its short name. Raises ``pydantic.ValidationError`` with the path of what is wrong."""
    return _Table.model_validate(read_table(file)).gpus


def near_gpu(product: str) -> str | None:
    """Return the product a misspelled name most likely means; None if nothing is near."""
    by_lower = {name.lower(): name for name in gpus()}
    nearest = difflib.get_close_matches(product.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[nearest[0]] if nearest else None
