"""Where prompts that begin alike go, by what vLLM's own prefix cache says of it."""

from __future__ import annotations

from tests.lab.conftest import Lab
from tests.lab.prefix_load import BY_PREFIX, TURNS, run, two_replicas
from tests.on_request import on_request

# of a chat's turns all but the first; and vLLM caches whole blocks of 128 tokens (CPU) of prompts with some 700
MOST = (TURNS - 1) / TURNS


@on_request
def test_a_chat_finds_its_turns_in_the_cache_of_the_replica_that_it_is_sent_to(sleeping: Lab) -> None:
    with two_replicas(sleeping):
        by_prefix = run(sleeping, "by prefix")
        with sleeping.with_setting("gateway", *BY_PREFIX):
            fewest_requests = run(sleeping, "fewest requests")
    assert by_prefix["hit_rate"] > 0.85 * MOST, (by_prefix, fewest_requests)
    assert by_prefix["hit_rate"] > fewest_requests["hit_rate"] + 0.05, (by_prefix, fewest_requests)
