"""Every option of the engine's chat and completions API, each with ordinary and wild values.

``OPTIONS`` names a parameter once, whichever of the two APIs has it; ``test_request_options.py`` holds the names
against those that the running engine lists itself. A value is what a client might send by design, by mistake or by
malice. ``Beside`` adds what a value needs to be looked at at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HUGE, HUGE_FLOAT = 2**63, 1e308
WRONG_TYPES: tuple[Any, ...] = ({"a": [1]}, [None])


@dataclass(frozen=True)
class Beside:
    """A value that is looked at only beside others."""

    value: Any
    others: dict[str, Any]


def nested(depth: int) -> dict[str, Any]:
    """A JSON schema of objects within objects."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def json_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


SCHEMAS: tuple[Any, ...] = (
    {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    nested(200),
    {"$ref": "#"},
    {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
    {"$ref": "http://127.0.0.1:1/schema.json"},
    {"type": "string", "pattern": "(a+)+$"},
    {"type": "string", "pattern": "(?<=a)b\\1["},
    {"type": "string", "pattern": "a{1,100000}"},
    {"type": "string", "maxLength": 10**9},
    {"type": "array", "items": {"type": "integer"}, "minItems": 10**6},
    {"type": "integer", "minimum": 10**400, "maximum": -(10**400)},
    {"enum": [f"é{number}" for number in range(5000)]},
    {"enum": []},
    {"type": "unknown"},
    {"not": {}},
    False,
    [],
    {"type": "object", "patternProperties": {"(": {}}},
)
REGEXES: tuple[str, ...] = (
    "[a-z]{1,3}", "(", "(a*)*b", "(a|a)*c", "a{50000}", "(?!a)b", "\\p{L}+", "\ud7ff|\U0010ffff", "",
    "(" * 500 + ")" * 500,
)  # fmt: skip
GRAMMARS: tuple[str, ...] = (
    'root ::= "yes" | "no"',
    "root ::= root",
    "root ::= a\na ::= root",
    'root ::= ("a" root)*',
    "root ::= undefined",
    "not a grammar",
    "",
    "root ::= " + "(" * 300 + '"a"' + ")" * 300,
    'root ::= "' + "é" * 5000 + '"',
)
STRUCTURES: tuple[Any, ...] = (
    *({"json": schema} for schema in SCHEMAS),
    *({"regex": regex} for regex in REGEXES),
    *({"grammar": grammar} for grammar in GRAMMARS),
    {"choice": ["yes", "no"]},
    {"choice": []},
    {"choice": ["x" * 20000] * 50},
    {"json_object": True},
    {"structural_tag": "{}"},
    {"structural_tag": '{"type": "structural_tag", "structures": [], "triggers": []}'},
    {"structural_tag": "x"},
    {"json": {}, "regex": "a"},
    {"regex": "a", "whitespace_pattern": "(", "_backend": "none"},
    {"regex": "a", "disable_any_whitespace": True, "disable_fallback": True},
    {},
)
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
NUMBERS: tuple[Any, ...] = (0, -1, HUGE, -HUGE, "x", [], True)
FRACTIONS: tuple[Any, ...] = (0.0, 0.5, -3.0, 1e-320, HUGE_FLOAT, -HUGE_FLOAT, float("inf"), float("nan"), "x", [])
SWITCHES: tuple[Any, ...] = (True, False, "x", 7, [])
TOKENS: tuple[Any, ...] = ([5], [0, 1, 2], [], [-1], [49151], [49152], [10**9], [HUGE], ["x"], list(range(20000)), "x")
TEXTS: tuple[Any, ...] = ("x", "", "é\u2028\x00\ud83d\ude00", "x" * 100_000, 7, [])
OBJECTS: tuple[Any, ...] = ({}, {"a": 1}, {"a": {"b": [None]}}, [], "x", {"x" * 10_000: "y"})

OPTIONS: dict[str, tuple[Any, ...]] = {
    "messages": (
        [], [{}], [{"role": "user"}], [{"role": "x", "content": "a"}], [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x.png"}}]}],
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}],
        [{"role": "user", "content": "word " * 5000}], [{"role": "user", "content": "é\x00\ud83d\ude00 <|im_end|>"}],
        [{"role": "user", "content": ""}], [{"role": "assistant", "content": "a", "tool_calls": [{"id": 1}]}],
        [{"role": "tool", "tool_call_id": "x", "content": {"a": 1}}], [{"role": "user", "content": "a"}] * 1000, "x", 7,
    ),
    "prompt": (
        "a", "", [], [[]], ["a", "b"], [1, 2, 3], [[1, 2], [3]], [-1], [49152], [10**12], "word " * 5000, [""], 7, {},
        ["a", 1], "é\x00\ud83d\ude00", list(range(3000)), ["a"] * 40,
    ),
    "model": ("smollm2-135m",),
    "frequency_penalty": FRACTIONS,
    "presence_penalty": FRACTIONS,
    "repetition_penalty": FRACTIONS,
    "temperature": FRACTIONS,
    "top_p": FRACTIONS,
    "min_p": FRACTIONS,
    "length_penalty": (*FRACTIONS, Beside(-1000.0, {"use_beam_search": True, "n": 2})),
    "logit_bias": (
        {"5": 1}, {"5": 100, "6": -100}, {"5": HUGE_FLOAT}, {"-1": 1}, {"49152": 1}, {str(10**12): 1}, {"x": 1},
        {str(number): 1 for number in range(10_000)}, {"5": float("nan")}, {"5": None}, [], "x",
    ),
    "logprobs": (
        True, False, 0, 1, 5, 20, 21, -1, HUGE, "x", [], Beside(True, {"top_logprobs": 5}), Beside(5, {"echo": True}),
        Beside(True, {"n": 3, "stream": True}), Beside(3, {"prompt": ["a", "b"], "echo": True, "max_tokens": 0}),
    ),
    "top_logprobs": (*(Beside(value, {"logprobs": True}) for value in (0, 5, 20, 21, -1, HUGE, "x")), 5),
    "prompt_logprobs": (0, 5, 20, 21, -1, -2, HUGE, "x", Beside(3, {"stream": True}), Beside(3, {"echo": True})),
    "logprob_token_ids": (*TOKENS, Beside([5, 6], {"logprobs": True}), Beside([49152], {"logprobs": True})),
    "max_tokens": (1, 2047, 2048, *NUMBERS),
    "max_completion_tokens": (1, 2047, *NUMBERS),
    "min_tokens": (1, Beside(2, {"stop": "a"}), Beside(3000, {"max_tokens": 2}), *NUMBERS),
    "n": (1, 3, 48, 49, 1000, 10**6, *NUMBERS, Beside(3, {"stream": True}), Beside(3, {"temperature": 0})),
    "seed": (0, 42, -1, HUGE - 1, HUGE, -HUGE, -HUGE - 1, "x", 1.5, []),
    "stop": ("a", [], ["a", "b"], "", [""], ["x" * 100_000], [f"é{number}" for number in range(2000)], 7, [7], {}),
    "stop_token_ids": TOKENS,
    "allowed_token_ids": TOKENS,
    "bad_words": (["a"], [""], [], ["é\x00"], ["x" * 20_000], [f"w{number}" for number in range(3000)], [7], "x"),
    "stream": SWITCHES,
    "stream_options": (
        *(Beside({name: True}, {"stream": True}) for name in ("include_usage", "continuous_usage_stats", "x")),
        Beside(7, {"stream": True}), {"include_usage": True},
    ),
    "stream_interval": (*(Beside(value, {"stream": True}) for value in (1, 100, HUGE, 0, -1, "x")), 1),
    "response_format": (
        {"type": "text"}, {"type": "json_object"}, {"type": "x"}, {}, "x", [], {"type": "json_schema"},
        {"type": "structural_tag", "structures": [], "triggers": []}, {"type": "structural_tag", "format": {}},
        *(json_schema(schema) for schema in SCHEMAS),
    ),
    "structured_outputs": (*STRUCTURES, "x", [], 7),
    "tools": (
        [TOOL], [], [{}], [TOOL] * 200, "x", [{"type": "function", "function": {"name": "", "parameters": 7}}],
        [{"type": "function", "function": {"name": "f", "parameters": nested(200)}}],
    ),
    "tool_choice": (
        "none", *(Beside(value, {"tools": [TOOL]}) for value in ("auto", "required", "none", "x", {}, 7)),
        *(Beside({"type": "function", "function": {"name": name}}, {"tools": [TOOL]}) for name in ("f", "g", "")),
    ),
    "parallel_tool_calls": (*SWITCHES, Beside(False, {"tools": [TOOL]})),
    "reasoning_effort": ("low", "none", "high", "x", 7, []),
    "thinking_token_budget": (*NUMBERS, 10),
    "include_reasoning": SWITCHES,
    "user": TEXTS,
    "use_beam_search": (
        Beside(True, {"n": 2}), Beside(True, {"n": 2, "stream": True}), Beside(True, {"n": 0}),
        Beside(True, {"n": 2, "logprobs": True}), Beside(True, {"n": 2, "temperature": 2.0, "stop": "a"}),
        Beside(True, {"n": 10**6}), Beside(True, {"n": -1}), Beside(True, {"n": 2, "max_tokens": -1}), "x", [],
    ),
    "top_k": (1, 5, 10**6, *NUMBERS),
    "watermarking": SWITCHES,
    "include_stop_str_in_output": (*SWITCHES, Beside(True, {"stop": "e"})),
    "ignore_eos": SWITCHES,
    "skip_special_tokens": (*SWITCHES, Beside(False, {"stop": ["<|im_end|>"]})),
    "spaces_between_special_tokens": SWITCHES,
    "truncate_prompt_tokens": (1, 5, *NUMBERS),
    "truncation_side": (*(Beside(value, {"truncate_prompt_tokens": 2}) for value in ("left", "right", "x", 7)), "left"),
    "suffix": TEXTS,
    "best_of": NUMBERS,
    "echo": (*SWITCHES, Beside(True, {"max_tokens": 0}), Beside(True, {"stream": True, "logprobs": True})),
    "add_generation_prompt": SWITCHES,
    "continue_final_message": (*SWITCHES, Beside(True, {"add_generation_prompt": False})),
    "add_special_tokens": SWITCHES,
    "documents": ([{"title": "a", "text": "b"}], [], [{}], [{"a": 7}], "x", [{"a": "b" * 100_000}]),
    "chat_template": ("{{ messages }}", "{% for a in range(10**9) %}{% endfor %}", "{{", 7),
    "chat_template_kwargs": (*OBJECTS, {"chat_template": "x"}, {"tokenize": True}, {"add_generation_prompt": 7}),
    "media_io_kwargs": (*OBJECTS, {"image": {"num_frames": 10**9}}),
    "mm_processor_kwargs": OBJECTS,
    "priority": (0, 1, -1, HUGE - 1, HUGE, -HUGE, "x"),
    "request_id": (*TEXTS, "the-same", "the-same", "the-same"),
    "session_id": (*TEXTS, "the-same", "the-same"),
    "return_tokens_as_token_ids": (*SWITCHES, Beside(True, {"logprobs": True})),
    "return_token_ids": (*SWITCHES, Beside(True, {"stream": True})),
    "return_token_offsets": (*SWITCHES, Beside(True, {"stream": True})),
    "return_prompt_text": (*SWITCHES, Beside(True, {"stream": True})),
    "routed_experts_prompt_start": NUMBERS,
    "mm_payload": ("none", "x", *OBJECTS, 7),
    "return_mm_kwargs": SWITCHES,
    "cache_salt": TEXTS,
    "kv_transfer_params": OBJECTS,
    "ec_transfer_params": OBJECTS,
    "vllm_xargs": (*OBJECTS, {"a": "b"}, {"a": [1, "b"]}, {"a": HUGE_FLOAT}, {"kv_transfer_params": "x"}),
    "repetition_detection": (
        *OBJECTS, {"max_pattern_size": 5, "min_count": 2}, {"max_pattern_size": HUGE, "min_count": 0},
        {"max_pattern_size": -1, "min_pattern_size": -5, "min_count": -1},
        Beside({"max_pattern_size": 10**9, "min_pattern_size": 1, "min_count": 2}, {"max_tokens": 30}),
    ),
    "prompt_embeds": ("AAAA", "", ["AAAA"], 7),
    "no_such_option": (1, {"a": []}),
    "logits_processors": ([], ["os.system"], "x"),
}  # fmt: skip
NOT_IN_THE_API = frozenset({"best_of", "no_such_option", "logits_processors"})
"""Asked, and not among the parameters that the engine lists: what it had once, and what no engine has."""

NEEDED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 3},
    COMPLETIONS: {"prompt": "Hello", "max_tokens": 3},
}
_SOON = {"stop": [" ", "e", "a", "."]}


def chosen(name: str, asked_elsewhere: bool, thorough: bool) -> list[Any]:
    """The values of an option to ask: an ordinary and a wild one, or where the run is ``thorough`` all of them.

    Fewer of an option that was asked of the other API, which reads it by the same code.
    """
    values = OPTIONS[name]
    if not thorough:
        middle = len(values) // 2
        return [values[0]] if asked_elsewhere or middle == 0 else [values[0], values[middle]]
    wrong = () if name in ("model", "prompt", "messages") else WRONG_TYPES
    return [*values, *wrong, None][:: 4 if asked_elsewhere else 1]


def bodies(
    path: str, names: frozenset[str], asked_elsewhere: frozenset[str], thorough: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every option of one API with its values: what it is, and the body without its model."""
    for name in sorted(names):
        for value in chosen(name, name in asked_elsewhere, thorough):
            others = value.others if isinstance(value, Beside) else {}
            shown = value.value if isinstance(value, Beside) else value
            others = {**others, **(_SOON if name.startswith("max_") else {})}
            yield f"{path} {name}={shown!r:.80} {others or ''}", {**NEEDED[path], **others, name: shown}
