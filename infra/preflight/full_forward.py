"""The memory of one full forward pass without an engine: every head cached, all activations kept.

A worst case to compare with, not what vLLM needs: it caches only the KV heads, computes in slices, and keeps no score
matrix. The formulas are those behind seed 002's totals: weights 2 bytes a parameter; cache 2·L·h·s numbers of 2 bytes;
activations s·h·(34 + 5·a·s/h) numbers of 4 bytes, for s tokens, h hidden size, a heads, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS = 8096  # the length at which those totals come out


@dataclass(frozen=True)
class FullForward:
    """Bytes."""

    weights: int
    kv: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.activations


def full_forward(parameters: int, layers: int, hidden: int, heads: int, tokens: int = TOKENS) -> FullForward:
    """For a model in 16 bits and one sequence of ``tokens``."""
    activations = tokens * hidden * 34 + 5 * heads * tokens * tokens
    return FullForward(2 * parameters, 2 * layers * hidden * tokens * 2, 4 * activations)
