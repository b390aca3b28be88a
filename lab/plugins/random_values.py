"""Stand-in for the random provider: RandomPassword, RandomString and RandomId, generated once and kept in state."""

from __future__ import annotations

import base64
import secrets
import string
from typing import Any

from infra.gate.replacement.differences import UNKNOWN, Difference, compare
from lab.plugins.plugin import Call, Checked, Naming, RefusedError, StandIn, Values
from lab.plugins.process import serve
from lab.plugins.properties import Secret, has_unknown, mark_secrets, plain

SPECIAL = "!@#$%&*()-_=+[]{}<>:?"
_DEFAULTS: dict[str, dict[str, Any]] = {
    "string": {
        "lower": True, "upper": True, "numeric": True, "special": True,
        "minLower": 0, "minUpper": 0, "minNumeric": 0, "minSpecial": 0,
    },
    "id": {},
}  # fmt: skip
_KINDS = {
    "random:index/randomPassword:RandomPassword": "password",
    "random:index/randomString:RandomString": "string",
    "random:index/randomId:RandomId": "id",
}


def characters(inputs: dict[str, Any]) -> str:
    """Return a random text that honours length, classes and their minimums. Raises `RefusedError` when it cannot."""
    classes = {
        "Lower": string.ascii_lowercase,
        "Upper": string.ascii_uppercase,
        "Numeric": string.digits,
        "Special": inputs.get("overrideSpecial") or SPECIAL,
    }
    allowed = {name: text for name, text in classes.items() if inputs[name.lower()]}
    minimums = {name: int(inputs[f"min{name}"]) for name in classes}
    length = int(inputs["length"])
    if not allowed or sum(minimums.values()) > length:
        raise RefusedError(
            f"length {length} cannot hold what is asked for ({minimums}, classes {list(allowed)}): "
            "allow a class of characters, or raise length"
        )
    picked = [secrets.choice(classes[name]) for name, count in minimums.items() for _ in range(count)]
    everything = "".join(allowed.values())
    picked += [secrets.choice(everything) for _ in range(length - len(picked))]
    secrets.SystemRandom().shuffle(picked)
    return "".join(picked)


class RandomValues(StandIn):
    """Provider of values that change only with their inputs: any change is a replacement."""

    version = "4.21.4+stand-in"

    def check(self, call: Call, olds: Values, news: Values, naming: Naming) -> Checked:
        kind = _kind(call)
        size = "byteLength" if kind == "id" else "length"
        value = plain(news.get(size))
        failures = []
        if value is not UNKNOWN and not (isinstance(value, int) and value > 0):
            failures.append((size, f"{value!r} is not a whole number above 0"))
        defaults = _DEFAULTS["id" if kind == "id" else "string"]
        return {**defaults, **{key: item for key, item in news.items() if item is not None}}, failures

    def diff(self, call: Call, olds: Values, old_inputs: Values, news: Values, ignored: list[str]) -> Difference:
        return Difference(compare(plain(old_inputs), plain(news), immutable=[()]))

    def create(self, call: Call, inputs: Values) -> tuple[str, Values]:
        kind, plain_inputs = _kind(call), plain(inputs)
        if call.preview or has_unknown(plain_inputs):
            return "", inputs
        if kind == "id":
            return _random_id(plain_inputs, inputs)
        result = characters(plain_inputs)
        if kind == "password":
            # bcryptHash is left out: nothing in this project reads it and it would be one more secret at rest.
            return "none", {**inputs, "result": Secret(result)}
        return result, mark_secrets({**inputs, "result": result}, inputs)

    def update(self, call: Call, olds: Values, old_inputs: Values, news: Values, ignored: list[str]) -> Values:
        return {**olds, **news}


def _random_id(plain_inputs: Values, inputs: Values) -> tuple[str, Values]:
    data, prefix = secrets.token_bytes(int(plain_inputs["byteLength"])), plain_inputs.get("prefix") or ""
    url = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    return url, {
        **inputs,
        "b64Url": prefix + url,
        "b64Std": prefix + base64.b64encode(data).decode(),
        "hex": prefix + data.hex(),
        "dec": prefix + str(int.from_bytes(data)),
    }


def _kind(call: Call) -> str:
    try:
        return _KINDS[call.type]
    except KeyError:
        raise RefusedError(f"{call.type}: the random stand-in only has {', '.join(_KINDS)}") from None


if __name__ == "__main__":
    serve(RandomValues)
