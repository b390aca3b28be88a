"""Requests that engines died with: finds the one that ended its engine and keeps the others from being blamed for it.

An engine that dies takes every request in it along. All but one are bystanders, and no answer says which. So each
request whose answer had not begun is a suspect, and a suspect is sent again only alone: to a replica that gets nothing
else until the suspect is answered, or until that engine has died as well. In that case this request ended it, and is
refused from then on. So a request that ends engines ends two, and a bystander is sent as often as it takes.

All other requests go to the other replicas meanwhile; if there is none they wait, for at most ``TRIALS_SECONDS`` from
the first trial: suspects that were not tried by then are sent in company again, and may end one more engine. A suspect
that is answered in full is no longer one. Counted in this process, and only for as long as it runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from .errors import ApiError
from .upstream_call import Call

REFUSED_SECONDS = 600.0
"""How long a request that ended its engine is refused, and how long a suspect that does not come back is remembered."""

TRIALS_SECONDS = 30.0
SETTLED_SECONDS = 2.0
"""A request that was in an engine this long before another came did not end the engine at the moment the other came."""

_MOST_REMEMBERED = 1024
_MOST_NORMALISED_BYTES = 256 * 1024
# fields that clients change when they resend the same request
_CHANGING = ("stream", "stream_options", "user", "metadata", "request_id", "safety_identifier", "prompt_cache_key")
_log = logging.getLogger("ebbtide.gateway.engine_deaths")


class EndsEngines(ApiError):
    """Error 422: an engine died of this very request, alone in it. Client libraries do not resend it by themselves."""

    def __init__(self, model: str, seconds: float) -> None:
        message = (
            f"two engines of model {model!r} ended while they worked on this request, the second on nothing else; "
            f"it is refused for the next {max(1, round(seconds))} s: change its parameters or its content"
        )
        super().__init__(422, "request_ends_engine", message)


class MustWait(Exception):
    """Signal that another request is being tried alone, or is about to be."""


@dataclass
class _Sent:
    """One request in one replica. ``left``: when it was given up before its answer began; the engine may not know."""

    call: Call
    at: float
    begun: bool = False
    left: float | None = None


@dataclass
class _Record:
    """Record of one request, found by its fingerprint."""

    deaths: int
    at: float
    refused_until: float = 0.0


@dataclass
class _Trials:
    """Suspects of one model that wait or are tried, oldest first; the replica kept for them, and the suspect being
    tried there. ``until`` is set when the first is tried.
    """

    waiting: dict[int, Call] = field(default_factory=dict)
    replica: str | None = None
    tried: Call | None = None
    until: float | None = None


class EngineDeaths:
    """Memory of one process for engine deaths; it remembers no body, only keyed hashes."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, died: Callable[[str], None] = lambda model: None
    ) -> None:
        self._clock = clock
        self._count = died
        self._key = secrets.token_bytes(32)
        # by replica and model; the replica is None for what went through the interceptor, to any of the model's
        self._sent: dict[tuple[str | None, str], list[_Sent]] = {}
        self._records: OrderedDict[bytes, _Record] = OrderedDict()
        self._trials: dict[str, _Trials] = {}

    def check(self, call: Call) -> None:
        """Raise ``EndsEngines`` for a request that is refused."""
        record = self._record(call)
        if record is not None and self._clock() < record.refused_until:
            raise EndsEngines(call.model.name, record.refused_until - self._clock())

    def choose(self, call: Call, ready: Sequence[str], pick: Callable[[Collection[str]], str | None]) -> str | None:
        """Return the replica that takes the call now, out of ``ready``; None if none is ready. ``pick`` chooses a
        replica outside the collection it is given. Raises ``MustWait``, and ``EndsEngines`` as ``check`` does.
        """
        self.check(call)
        if self._record(call) is not None:
            self._trials.setdefault(call.model.name, _Trials()).waiting.setdefault(id(call), call)
        else:
            self.leave(call)  # another with the same content was answered meanwhile
        trials = self._trials.get(call.model.name)
        if trials is None or not ready or (trials.until is not None and self._clock() >= trials.until):
            return pick(())
        if id(call) in trials.waiting:
            return self._for_suspect(call, trials, ready, pick)
        trial_replica = () if trials.replica is None else (trials.replica,)
        if (replica := pick(trial_replica)) is None:
            raise MustWait
        return replica

    def _for_suspect(
        self, call: Call, trials: _Trials, ready: Sequence[str], pick: Callable[[Collection[str]], str | None]
    ) -> str | None:
        if trials.tried is not None or call is not self._next(trials):
            raise MustWait
        if trials.replica not in ready:
            trials.replica = pick(())
        if trials.replica is None:
            return None
        since = self._clock() - SETTLED_SECONDS
        if any(each.left is None and not each.begun and each.at > since for each in self._near(trials.replica, call)):
            raise MustWait
        trials.tried = call
        if trials.until is None:
            trials.until = self._clock() + TRIALS_SECONDS
        return trials.replica

    def _next(self, trials: _Trials) -> Call:
        """Return the suspect with the most deaths; among equals the one that came first."""

        def urgency(call: Call) -> tuple[int, float]:
            record = self._record(call)
            return (-record.deaths if record is not None else 0), call.began

        return min(trials.waiting.values(), key=urgency)

    def is_suspect(self, call: Call) -> bool:
        """Return True if an engine died with the request."""
        return self._record(call) is not None

    def sent(self, call: Call, replica: str | None) -> None:
        """Note that the call goes to this replica now. No await between ``choose`` and this."""
        where = (replica, call.model.name)
        self._sent[where] = [*self._inside(where), _Sent(call, self._clock())]
        trials = self._trials.get(call.model.name)
        if trials is not None and trials.tried is not call:
            self.leave(call)  # in company, since the time for trials is over

    def begun(self, call: Call, replica: str | None) -> None:
        """Note that the call's answer has begun: the engine has computed with it and lives."""
        for each in self._inside((replica, call.model.name)):
            each.begun = each.begun or each.call is call
        self.leave(call)

    def answered(self, call: Call) -> None:
        """Clear the call: it was answered in full, maybe with a refusal of the engine's own, so it ends no engine."""
        if self._records:
            self._records.pop(self._fingerprint(call), None)

    def left(self, call: Call, replica: str | None) -> None:
        """Note that the call is no longer in the replica, however it ended."""
        where = (replica, call.model.name)
        inside = self._inside(where)
        for each in [each for each in inside if each.call is call]:
            if each.begun:
                inside.remove(each)
            else:
                each.left, each.call = (
                    self._clock(),
                    replace(call, body=b"", form=None, fingerprint=self._fingerprint(call)),
                )
        self._sent[where] = inside
        if not inside:
            del self._sent[where]
        trials = self._trials.get(call.model.name)
        if trials is not None and trials.tried is call:
            trials.tried = trials.replica = None

    def leave(self, call: Call) -> None:
        """Take the call out of the trials: it no longer waits for one, nor needs its replica for itself."""
        model = call.model.name
        if (trials := self._trials.get(model)) is None:
            return
        trials.waiting.pop(id(call), None)
        if trials.tried is call:
            trials.tried = trials.replica = None
        if not trials.waiting:
            del self._trials[model]

    def _near(self, replica: str, call: Call) -> list[_Sent]:
        """Return the requests in a replica, and those that may be there because they went through the interceptor."""
        return [*self._inside((replica, call.model.name)), *self._inside((None, call.model.name))]

    def _inside(self, where: tuple[str | None, str]) -> list[_Sent]:
        """Return the requests that are there, or were less than ``SETTLED_SECONDS`` ago."""
        now = self._clock()
        return [each for each in self._sent.get(where, ()) if each.left is None or now - each.left < SETTLED_SECONDS]

    def died(self, replica: str | None, model: str) -> None:
        """Note that the engine there ended by itself. Called for each request that was in it; only the first call
        counts.
        """
        now = self._clock()
        inside = [each for where in dict.fromkeys(((replica, model), (None, model))) for each in self._inside(where)]
        for where in ((replica, model), (None, model)):
            self._sent.pop(where, None)
        if not inside:
            return
        self._count(model)
        unanswered = [each for each in inside if not each.begun or self._record(each.call) is not None] or inside
        guilty = self._guilty(unanswered)
        for each in unanswered if guilty is None else [guilty]:
            self._remember(each.call, now)
        if guilty is not None:
            self._records[self._fingerprint(guilty.call)].refused_until = now + REFUSED_SECONDS
        else:
            self._line_up(unanswered, model)
        outcome = "one of them ended it and is refused" if guilty else f"{len(unanswered)} are sent again one at a time"
        _log.warning("an engine of model %s ended with %d request(s) in it; %s", model, len(inside), outcome)

    def _line_up(self, unanswered: Sequence[_Sent], model: str) -> None:
        """Queue the requests before any of them comes back, so that the first to have come is tried first."""
        coming = {id(each.call): each.call for each in unanswered if each.left is None and not each.begun}
        if coming:
            trials = self._trials.setdefault(model, _Trials())
            trials.waiting |= coming
            trials.until = None

    def _guilty(self, inside: Sequence[_Sent]) -> _Sent | None:
        """Return the request that an engine died with before, if all others came at least ``SETTLED_SECONDS`` before
        it.
        """
        suspects = [each for each in inside if self._record(each.call) is not None]
        if len({self._fingerprint(each.call) for each in suspects}) != 1:
            return None
        others = [each for each in inside if each not in suspects]
        alone = all(other.at <= suspects[0].at - SETTLED_SECONDS for other in others)
        return suspects[0] if alone else None

    def _remember(self, call: Call, now: float) -> None:
        fingerprint = self._fingerprint(call)
        before = self._records.pop(fingerprint, None)
        if before is not None and before.at == now:  # the same request more than once in one engine
            self._records[fingerprint] = before
            return
        self._records[fingerprint] = _Record(1 + (before.deaths if before is not None else 0), now)
        while len(self._records) > _MOST_REMEMBERED:
            self._records.popitem(last=False)

    def _record(self, call: Call) -> _Record | None:
        record = self._records.get(self._fingerprint(call)) if self._records else None
        if record is not None and self._clock() - record.at >= REFUSED_SECONDS:
            del self._records[self._fingerprint(call)]
            return None
        return record

    def _fingerprint(self, call: Call) -> bytes:
        if call.fingerprint is None:
            start = f"{call.model.name}\0{call.path}\0".encode()
            call.fingerprint = hashlib.blake2b(start + normalised(call.body), key=self._key, digest_size=16).digest()
        return call.fingerprint


def normalised(body: bytes) -> bytes:
    """Return the body with sorted keys and without what clients change when they resend a request; a large one as it
    is.
    """
    if len(body) > _MOST_NORMALISED_BYTES:
        return body
    document = json.loads(body)
    return json.dumps(
        {name: document[name] for name in sorted(document) if name not in _CHANGING}, sort_keys=True
    ).encode()
