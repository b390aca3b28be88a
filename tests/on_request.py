"""Tests that take minutes of two cores: on request, so that a change waits for those that find most."""

from __future__ import annotations

import os

import pytest

on_request = pytest.mark.skipif(
    not os.environ.get("EBBTIDE_LONG"), reason="takes minutes of two cores; EBBTIDE_LONG=1 asks for it"
)
