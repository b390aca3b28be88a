"""Samples of a few metrics, from the text that a gateway or an engine answers for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def samples(text: str, *names: str) -> Iterator[Sample]:
    """Yield the samples of these metrics in the text's order; skip a line that cannot be parsed.

    Other lines are dropped before they are parsed: an engine answers with a thousand.
    """
    for line in (line for line in text.splitlines() if line.startswith(names)):
        try:
            parsed = [each for family in text_string_to_metric_families(line) for each in family.samples]
        except (ValueError, KeyError, IndexError):
            continue
        yield from (sample for sample in parsed if sample.name in names)
