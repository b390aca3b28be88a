"""Samples read from a text for Prometheus: only the metrics asked for, and no trouble with the other lines."""

from __future__ import annotations

import pytest

from tests.unit import keeper_kit

from ebbtide_keeper.metrics_text import samples  # isort: skip

assert keeper_kit

TEXT = """\
# HELP a Some help.
# TYPE a gauge
a{model="x",odd="a \\"quoted\\" } brace"} 3
a{model="y"} 1.5e+01
a_more{model="x"} 7
b 1
"""


def test_the_metrics_asked_for_come_with_their_labels_and_no_other() -> None:
    figures = [(sample.name, dict(sample.labels), sample.value) for sample in samples(TEXT, "a", "b")]
    assert figures == [
        ("a", {"model": "x", "odd": 'a "quoted" } brace'}, 3.0),
        ("a", {"model": "y"}, 15.0),
        ("b", {}, 1.0),
    ]


@pytest.mark.parametrize("line", ["a{", 'a{model="x"', 'a{model="x"} much', "a", "a{model=x} 1", "a{} } 1"])
def test_a_line_that_cannot_be_parsed_is_skipped_and_the_others_are_read(line: str) -> None:
    assert [sample.value for sample in samples(f"{line}\n{TEXT}", "a")] == [3.0, 15.0]
