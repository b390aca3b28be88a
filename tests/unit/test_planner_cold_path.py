"""How long a wake is reckoned to take, and what shortens it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from components.platforms.kinds import KINDS
from infra.planner.cold_path import PHASES, SHORTEN, BadMeasurement, cold_path, figures, observed_phases, read_measured
from infra.workspace import PROJECT

IMAGE, WEIGHTS = 11_600_000_000, 16_000_000_000


@pytest.mark.parametrize("place", KINDS)
def test_every_place_has_every_phase_measured_or_unknown_and_never_left_out(place: str) -> None:
    path = cold_path(place, IMAGE, WEIGHTS)
    assert tuple(phase.name for phase in path.phases) == PHASES
    for phase in path.phases:
        assert phase.source
        assert (phase.seconds is None) == (phase.by == "unknown")
    assert set(SHORTEN) == set(PHASES) == set(figures())


def test_the_figures_are_those_of_their_source() -> None:
    path = {phase.name: phase.seconds for phase in cold_path("aws", IMAGE, WEIGHTS).phases}
    assert path["node"] == 53
    assert path["image"] == pytest.approx(121, rel=0.01)  # 11.6 GB
    assert path["weights"] == pytest.approx(17.8, rel=0.01)  # 16 GB


def test_a_warm_node_spares_node_driver_and_image() -> None:
    path = cold_path("aws", IMAGE, WEIGHTS)
    spared = sum(p.seconds or 0 for p in path.phases if p.name in ("node", "driver", "image"))
    assert path.cold - path.warm == pytest.approx(spared)
    assert path.dominant.name == "image"
    assert "disk.throughput" in path.advice


def test_a_running_wake_shows_fewer_phases_and_those_with_an_unknown_part_are_left_out() -> None:
    path = cold_path("aws", IMAGE, WEIGHTS)
    assert sum(observed_phases(path).values()) == pytest.approx(path.cold, abs=0.5)
    assert observed_phases(cold_path("gcp", IMAGE, WEIGHTS)).keys() == {"decision", "image", "engine"}
    assert observed_phases(cold_path("aws", IMAGE, None)).keys() == {"decision", "node", "image"}


def test_what_nobody_has_measured_is_named_and_not_guessed() -> None:
    path = cold_path("gcp", IMAGE, None)
    assert path.unknown == ("node", "driver", "weights")
    assert cold_path("gcp", IMAGE, None, {"node": 90.0, "driver": 30.0}).unknown == ("weights",)


def test_the_labs_own_wake_can_be_given(tmp_path: Path) -> None:
    phases = read_measured(PROJECT / "docs" / "results" / "wake.json")["*"]
    assert set(phases) == set(PHASES)
    whole = json.loads((PROJECT / "docs" / "results" / "wake.json").read_text())["wake_seconds"]
    assert sum(phases.values()) == pytest.approx(sum(whole) / len(whole), rel=0.1)
    assert cold_path("local", IMAGE, WEIGHTS, phases).cold == pytest.approx(sum(phases.values()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "is not a mapping"),
        ("node: fast", "node is not a time; allowed: a number of seconds from 0"),
        ("node: -1", "node is not a time"),
        ("node: .nan", "node is not a time"),
        ("nodes: 4", "nodes is not a phase; allowed: decision, node"),
        ("models: {a: {nod: 4}}", "models.a.nod is not a phase"),
        ("models: 4", "models is not a mapping"),
        ("models: {a: 4}", "models.a is not a mapping"),
        ("a: [", "neither YAML nor JSON"),
        ("phases_seconds_since_request: [{}]", "cannot be read; allowed: wakes with woken"),
        ("phases_seconds_since_request: 3", "cannot be read; allowed: wakes with woken"),
    ],
)
def test_a_measurement_that_is_none_is_told_where(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "measured.yaml"
    file.write_text(text)
    with pytest.raises(BadMeasurement) as bad:
        read_measured(file)
    assert message in str(bad.value)


def test_measured_by_model_goes_before_measured_for_all(tmp_path: Path) -> None:
    file = tmp_path / "measured.yaml"
    file.write_text("node: 40\nmodels: {large: {weights: 90}}")
    assert read_measured(file) == {"*": {"node": 40.0}, "large": {"weights": 90.0}}
