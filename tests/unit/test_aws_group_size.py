"""The limits of a managed node group that is there, which no `up` may send."""

from __future__ import annotations

from components.platforms.aws.group_size import resize_hint


def test_a_group_with_the_limits_of_the_stack_file_needs_nothing() -> None:
    assert resize_hint("c", "g", (0, 2), (0, 2)) is None


def test_new_limits_are_given_without_the_number_of_nodes() -> None:
    hint = resize_hint("ebbtide", "gpu-1", (0, 2), (0, 4))
    assert hint is not None
    assert "--cluster-name ebbtide --nodegroup-name gpu-1 --scaling-config minSize=0,maxSize=4;" in hint
    assert "desiredSize" not in hint
    lower = resize_hint("ebbtide", "gpu-1", (1, 4), (0, 2))
    assert lower is not None
    assert "desiredSize" not in lower


def test_more_nodes_that_always_run_take_their_number_only_where_fewer_run() -> None:
    hint = resize_hint("ebbtide", "gpu-1", (0, 2), (1, 2))
    assert hint is not None
    assert "minSize=1,maxSize=2, with desiredSize=1 beside it where fewer run than that;" in hint
