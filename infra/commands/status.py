"""The command ``ebbtide status``: what each model of any stack that is up does, for how long, and what a wake costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from infra.commands.options import StatusOptions
from infra.console import console, say
from infra.served import access, gateway
from infra.served.gateway import Waiting


def run(options: StatusOptions) -> int:
    """Print the models' states. Returns the exit status: 1 if a model cannot be woken. Raises ``LocalProblem``."""
    at = access.find(options.stack, options.url, options.key, options.key_env)
    models = gateway.states(at)
    states = {str(each["id"]): each.get("ebbtide") or {} for each in models}
    if options.format == "json":
        console.print(json.dumps({"endpoint": at.url, "models": states}, indent=1), markup=False, soft_wrap=True)
    else:
        say(f"gateway   {at.url}")
        for name, state in states.items():
            say(f"model     {name}: {sentence(state)}")
        if not states:
            say("no model that this key may use")
    return 1 if any(state.get("state") == "failing" for state in states.values()) else 0


def sentence(state: Mapping[str, Any]) -> str:
    """Return a model's state in words: ``waking: engine, 42 of about 95 s; …``."""
    name, estimate = str(state.get("state", "unknown")), state.get("estimate_seconds")
    first, more = name, []
    if name == "waking" and state.get("phase"):
        first = f"waking: {Waiting(state['phase'], int(state.get('seconds') or 0), estimate)}"
    elif name == "failing":
        first = f"failing: {state.get('reason')}"
    elif name == "asleep":
        unknown = "nobody knows yet how long a wake takes"
        more.append(unknown if estimate is None else f"a wake takes about {estimate} s")
    last = ", ".join(str(each) for each in state.get("last_wakes_seconds") or ())
    if last:
        more.append(f"the last took {last} s")
    price = state.get("usd_per_hour")
    more.append("an hour's price is unknown" if price is None else f"{price:.2f} US dollars an hour while awake")
    return "; ".join((first, *more))
