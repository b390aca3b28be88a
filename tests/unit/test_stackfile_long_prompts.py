"""``longPrompts``: what a stack file may say of it, and how the gateway and the engines are told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from components.gateway.config import gateway_document
from components.model_service.arguments import engine_arguments
from components.platforms.contract import Weights
from components.platforms.folder_store import ClaimStore
from infra.program.gateway import gateway_settings
from infra.program.serving import model_settings
from infra.stackfile import ConfigError, load
from infra.stackfile.long_prompts import public_names
from tests.unit.test_stackfile_fallback import FILE, GOOD, MODEL, catalogue

__all__ = ["catalogue"]
ONE = {**MODEL, "pool": "on-demand", "max": 1}


def stack(groups: dict[str, Any] | None = None, **models: dict[str, Any]) -> dict[str, Any]:
    """The good stack with these models alone, ``_`` for ``-``."""
    raw = copy.deepcopy(GOOD)
    raw["models"] = {name.replace("_", "-"): {**ONE, **changes} for name, changes in models.items()}
    raw["gateway"]["groups"] |= groups or {}
    return raw


def pair(short: dict[str, Any] | None = None, long: dict[str, Any] | None = None, **groups: Any) -> dict[str, Any]:
    first = {"longPrompts": "chat-long", "aliases": ["talk"], **(short or {})}
    return stack(groups, chat=first, chat_long={"maxTokens": 32768, **(long or {})})


def findings(raw: dict[str, Any]) -> list[str]:
    try:
        problems_found = load(raw, FILE).warnings
    except ConfigError as error:
        problems_found = error.findings
    return [str(each).removeprefix(f"{FILE}: ") for each in problems_found]


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "short and long": (pair(everyone={"models": ["chat"], "wake": ["chat"]}), []),
    "three lengths": (
        stack(
            a={"maxTokens": 4096, "longPrompts": "b"},
            b={"maxTokens": 8192, "longPrompts": "c"},
            c={"maxTokens": 16384},
        ),
        [],
    ),
    "213 no such model": (
        pair({"longPrompts": "chat-lonk"}),
        [
            "models.chat.longPrompts: 'chat-lonk' is not a model of this stack; allowed: chat-long; "
            "fix: use one of them, or add the model [EBB213 error]"
        ],
    ),
    "213 an alias is no model's name": (
        pair({"longPrompts": "talk"}),
        [
            "models.chat.longPrompts: 'talk' is not a model of this stack; allowed: chat-long; "
            "fix: use one of them, or add the model [EBB213 error]"
        ],
    ),
    "214 itself": (
        stack(chat={"longPrompts": "chat"}),
        [
            "models.chat.longPrompts: 'chat' leads back to this model; allowed: a model that sends nothing on to this "
            "one; fix: leave longPrompts out of the model with the longest context [EBB214 error]"
        ],
    ),
    "214 a circle is told of each in it": (
        stack(a={"longPrompts": "b"}, b={"maxTokens": 16384, "longPrompts": "a"}),
        [
            f"models.{name}.longPrompts: '{other}' leads back to this model; allowed: a model that sends nothing on "
            "to this one; fix: leave longPrompts out of the model with the longest context [EBB214 error]"
            for name, other in (("a", "b"), ("b", "a"))
        ],
    ),
    "215 no longer": (
        pair(long={"maxTokens": 8192}),
        [
            "models.chat.longPrompts: 'chat-long' has a context of 8192 tokens, and this model 8192; allowed: a model "
            "with maxTokens above 8192; fix: raise its maxTokens, or lower it here [EBB215 error]"
        ],
    ),
    "216 another task": (
        pair(long={"task": "embed"}),
        [
            "models.chat.longPrompts: 'chat-long' has task embed, and this model chat: both answer under one name; "
            "allowed: chat; fix: write the same task in both [EBB216 error]"
        ],
    ),
    "216 a task without a length": (
        pair({"task": "transcribe"}, {"task": "transcribe"}),
        [
            "models.chat.longPrompts: 'chat-long' has no effect on transcribe: the length of a recording is not in its "
            "bytes; allowed: models with the same task, id and revision; not transcribe; fix: take longPrompts out "
            "[EBB216 error]"
        ],
    ),
    "216 another build is a warning": (
        pair(long={"revision": "1" * 40}),
        [
            f"models.chat.longPrompts: 'chat-long' has revision {'1' * 40}, and this model {'0' * 40}: both answer "
            f"under one name; allowed: {'0' * 40}; fix: write the same revision in both [EBB216 warning]"
        ],
    ),
    "217 two names for one": (
        stack(a={"longPrompts": "c"}, b={"longPrompts": "c"}, c={"maxTokens": 16384}),
        [
            "models.b.longPrompts: 'c' takes the long prompts of a already, and answers under its name; allowed: a "
            "model that no other names under longPrompts; fix: declare it once more, under another name: the weights "
            "are stored once [EBB217 error]"
        ],
    ),
    "218 a name of its own": (
        pair(long={"aliases": ["essay"]}),
        [
            "models.chat-long.aliases[0]: 'essay' would never be asked: this model takes the long prompts of chat, "
            "under its names; allowed: no alias; fix: write it at model chat [EBB218 error]"
        ],
    ),
    "218 a group names it": (
        pair(some={"models": ["chat", "chat-long"], "wake": ["chat-long"]}),
        [
            f"gateway.groups.some.{key}: 'chat-long' is asked for as chat alone, whose long prompts it takes; "
            "allowed: chat; fix: write chat [EBB218 error]"
            for key in ("models[1]", "wake[0]")
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_of_it(case: str) -> None:
    raw, expected = CASES[case]
    assert findings(raw) == expected


def test_a_field_that_cannot_be_read_hides_only_what_needs_it() -> None:
    assert [each.rpartition("[")[2] for each in findings(pair(long={"maxTokens": "many", "task": "embed"}))] == [
        "EBB216 error]",
        "EBB111 error]",
    ]


def test_the_name_is_that_of_the_first_of_them() -> None:
    assert public_names({"a": "b", "b": "c", "c": None, "d": None}) == {"b": "a", "c": "a"}
    assert public_names({"a": "b", "b": "a"}) == {}


def test_the_gateway_is_told_where_long_prompts_go_and_what_the_model_is_asked_for() -> None:
    models = gateway_document(gateway_settings(load(pair(), FILE).config, "http://interceptor", "keda"))["models"]
    keys = ("name", "aliases", "contextTokens", "longer", "askedAs")
    assert [{key: model[key] for key in keys if key in model} for model in models] == [
        {"name": "chat", "aliases": ["talk"], "contextTokens": 8192, "longer": "chat-long"},
        {"name": "chat-long", "aliases": [], "askedAs": "chat"},
    ]
    plain = gateway_document(gateway_settings(load(stack(chat={}), FILE).config, "http://interceptor", "keda"))[
        "models"
    ]
    assert not {"contextTokens", "longer", "askedAs"} & plain[0].keys()


def test_both_answer_under_one_name() -> None:
    loaded = load(pair(), FILE).config
    served = []
    for model in loaded.models.values():
        settings = model_settings(model, ClaimStore("models"), loaded.asked_as.get(model.name))
        arguments = engine_arguments(settings, Weights("/models/a"), "cuda")
        at = arguments.index("--served-model-name")
        served.append(arguments[at + 1 : at + 3])
    # the first is the one in the answers; the gateway asks by the model's own
    assert served == [["chat", "talk"], ["chat", "chat-long"]]
