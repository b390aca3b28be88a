"""The gate's report as a comment, posted by a job with rights from what a job without any left behind.

The change's author may have written that report as well: it is text from a stranger. Only the standard library is
needed, so that the job with rights installs nothing.
"""

from __future__ import annotations

import io
import json
import re
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Any

from infra.gate.file_kinds import Kind, kind_of, programs

# first line of each of our comments
MARK = "<!-- ebbtide-gate -->"
LARGEST_ARCHIVE = 8 * 2**20
LARGEST_REPORT = 2**18
LONGEST = 60_000  # a comment holds 65,536 letters
CUT = "\n\nThe rest is left out; the job's log has all of it.\n"
MOST_STACKS = 20  # shown; the head page has the verdict over all
HEAD_PAGE = "gate"  # gate.md: the verdict over all stacks
_MOST_NAMED = 20
_AROUND = 8000  # for what stands around the reports
_NAME = re.compile(r"(?:report/)?([A-Za-z0-9][A-Za-z0-9._-]{0,60})\.md")
_TAGS = re.compile(r"(</?(?:details|summary|code)>)")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


class NotAReport(Exception):
    """Reason why the file left behind cannot be shown."""


@dataclass(frozen=True)
class Owners:
    """The files that a code owner has to read, and what keeps the forge from asking for one."""

    program: tuple[str, ...] = ()  # files that no judge can vouch for
    data: tuple[str, ...] = ()  # files that are judged as data
    required: bool = False  # the run's own word: a code owner has to approve
    missing: str = ""  # what to turn on, in words, so that the forge asks for one

    @property
    def needed(self) -> bool:
        return self.required or bool(self.program)

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files that need an owner: where no program is changed, the data asks for something."""
        return self.program or (self.data if self.required else ())


@dataclass(frozen=True)
class Run:
    """The forge's own facts about the run: all that a verdict rests on."""

    commit: str
    page: str
    passed: bool
    edited: tuple[str, ...] = ()  # pipeline files that the change edits: the report is then its author's word
    owners: Owners = field(default_factory=Owners)
    note: str = ""  # what else the branch's rules leave open

    @property
    def verdict(self) -> tuple[bool, str]:
        """Return whether the run counts as passed, and the verdict in words."""
        if self.edited:
            return False, "edits its own pipeline: a maintainer has to read it"
        if not self.passed:
            return False, "blocked"
        if not self.owners.needed:
            return True, "may pass"
        if self.owners.missing:
            return False, f"needs an owner: {self.owners.missing}"
        return True, "may pass once a code owner approves"


def reports(archive: bytes) -> dict[str, str]:
    """Return the reports by stack, the head page among them; beyond ``MOST_STACKS`` a stack's is left empty. Nothing is
    unpacked to disk. Raises ``NotAReport``."""
    if len(archive) > LARGEST_ARCHIVE:
        raise NotAReport(f"it is larger than {LARGEST_ARCHIVE // 2**20} MiB")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            named = {match[1]: item for item in opened.infolist() if (match := _NAME.fullmatch(item.filename))}
            if not named:
                raise NotAReport("it has no reports")
            order = sorted(named, key=lambda stack: (stack != HEAD_PAGE, stack))
            shown = order[: MOST_STACKS + (HEAD_PAGE in named)]
            return {stack: _read(opened, named[stack]) if stack in shown else "" for stack in order}
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise NotAReport(f"it cannot be read: {type(error).__name__}") from None


def fetch(api: Api, path: str, size: int) -> dict[str, str] | str:
    """Return the reports in the archive at ``path``, or why they cannot be shown; ``size`` is the forge's own word."""
    if size > LARGEST_ARCHIVE:
        return f"it is larger than {LARGEST_ARCHIVE // 2**20} MiB"
    try:
        return reports(api.download(path, LARGEST_ARCHIVE))
    except NotAReport as problem:
        return str(problem)


def owners_of(names: Iterable[str], *, required: bool, missing: str = "") -> Owners:
    """Return what needs an owner among a change's files; ``required``: the run's own word."""
    listed = list(names)
    data = (name for name in listed if kind_of(name) is Kind.DATA)
    return Owners(program=tuple(programs(listed)), data=tuple(data), required=required, missing=missing)


def _read(opened: zipfile.ZipFile, item: zipfile.ZipInfo) -> str:
    with opened.open(item) as file:
        content = file.read(LARGEST_REPORT + 1)  # the sizes in the archive are a stranger's word too
    if len(content) > LARGEST_REPORT:
        raise NotAReport(f"the report of {item.filename[:70]} is larger than {LARGEST_REPORT // 1024} KiB")
    return content.decode("utf-8")


def harmless(text: str) -> str:
    """Return ``text`` without anything that a forge acts on: no mention, link, image, tag, reference, command or
    marker. A report of ours looks the same afterwards."""
    text = _UNSEEN.sub("", text.replace("\r\n", "\n")).replace(MARK + "\n", "", 1)
    text = "".join(part if _TAGS.fullmatch(part) else part.replace("<", "&lt;") for part in _TAGS.split(text))
    text = re.sub(r"@(?!\u200b)", "@\u200b", text)
    text = re.sub(r"\](?=[(:\[])", "]\u200b", text.replace("://", ":\u200b//"))
    text = re.sub(r"(?i)\bwww\.", "www\u200b.", text)
    text = re.sub(r"([#!&%~])(?=\d)", "\\1\u200b", text)  # issues, merge requests, milestones
    return re.sub(r"(?m)^(\s*)/(?=\w)", "\\1\u200b/", text)  # commands that a forge or a bot would obey


def body(texts: Mapping[str, str] | str, run: Run) -> str:
    """Return the comment. ``texts`` are the reports by stack, or why there is none."""
    lines = [MARK]
    if run.edited:
        named = ", ".join(f"`{_plain(name)}`" for name in run.edited[:5])
        lines.append(
            f"> ⚠️ **This change edits its own pipeline** ({named}), so what follows may be its author's word. "
            "It does not count as judged; a maintainer has to read these files.\n"
        )
    lines += _owners(run.owners)
    if run.note:
        lines.append(f"> ℹ️ {_plain(run.note)}.\n")
    if isinstance(texts, str):
        lines.append(f"## ⛔ Not judged\n\nThe report of the gate cannot be shown: {_plain(texts)}.\n")
    else:
        shown = [item for item in texts.items() if item[1]]
        each = (LONGEST - _AROUND) // max(1, len(shown))
        # the head page comes first, then blocked stacks
        order = sorted(shown, key=lambda item: (item[0] != HEAD_PAGE, "⛔" not in item[1]))
        lines += [_cut(harmless(text), each) for _, text in order]
        if rest := len(texts) - len(shown):
            lines.append(f"And {rest} more stack{'s' * (rest != 1)}, not shown here; the job's log has all of them.\n")
    lines.append(f"<sub>The gate for {run.commit[:12]}: {_plain(run.verdict[1])} ([log]({run.page})).</sub>")
    return "\n".join(lines) + "\n"


def _owners(owners: Owners) -> Iterator[str]:
    if not owners.needed:
        return
    files = owners.files
    why = "no judge can vouch for a program" if owners.program else "the data asks for what no rule can vouch for"
    named = "\n".join(f"> - `{_plain(name)}`" for name in files[:_MOST_NAMED])
    rest = f"\n> - and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else ""
    number = f"{len(files)} file{'s' * (len(files) != 1)}"
    yield f"> 👤 **A code owner has to approve**: {why}. {number}:\n>\n{named}{rest}\n"
    if owners.missing:
        yield f"> ⛔ **Nothing asks for that approval yet**, so this does not pass: {_plain(owners.missing)}.\n"


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return _closed(text)
    return _closed(text[:most].rpartition("\n")[0]) + CUT


def _closed(text: str) -> str:
    """Close the folds that a report leaves open: a report of ours leaves one at most, where it was cut. A report with
    more than 3 open, or too many closed, loses its tags."""
    left = text.count("<details>") - text.count("</details>")
    if not 0 <= left <= 3:
        return _TAGS.sub("", text)
    return text + "\n\n</details>\n" * left


def _plain(text: str) -> str:
    return re.sub(r"[^\w ./:;,()-]", "?", text)[:200]


# The little HTTP that the comment needs: one forge, one token, and no token for any other host.

SECONDS = 60
PAGES = 40
_LARGEST_ANSWER = 32 * 2**20
_NEXT = re.compile(r"\brel=[\"']?next\b")


class _KeepTokenHome(urllib.request.HTTPRedirectHandler):
    """Redirect handler that keeps the token from another host: archives are on one, which must not see it."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        there = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if there is not None and urllib.parse.urlsplit(newurl).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            for name in [name for name in there.headers if name.lower() in ("authorization", "private-token")]:
                del there.headers[name]
        return there


class MoreThanListed(Exception):
    """A list goes on behind the last page that is read."""


class Api:
    """A forge's API. Every call raises ``urllib.error.HTTPError`` if it is refused."""

    def __init__(self, base: str, headers: Mapping[str, str]) -> None:
        self._base, self._headers = base.rstrip("/"), dict(headers)
        self._opener = urllib.request.build_opener(_KeepTokenHome)

    def get(self, path: str, **query: str | int) -> Any:
        return json.loads(self._send("GET", _url(path, query), None, _LARGEST_ANSWER)[0])

    def pages(self, path: str, **query: str | int) -> Iterator[Any]:
        """Yield the items of every page of a list. Raises ``MoreThanListed`` if it goes on after ``PAGES`` pages."""
        for page in range(1, PAGES + 1):
            here = _url(path, {**query, "per_page": 100, "page": page})
            answer, links = self._send("GET", here, None, _LARGEST_ANSWER)
            items = json.loads(answer)
            yield from items
            # a forge may give fewer on a page than it was asked for, and says by a link that there is another
            if len(items) < 100 and not _NEXT.search(links):
                return
        raise MoreThanListed(f"{path} goes on after {PAGES} pages")

    def download(self, path: str, largest: int) -> bytes:
        """Return at most one byte more than ``largest``."""
        return self._send("GET", path, None, largest + 1)[0]

    def send(self, method: str, path: str, content: Mapping[str, Any]) -> None:
        self._send(method, path, json.dumps(content).encode(), _LARGEST_ANSWER)

    def _send(self, method: str, path: str, content: bytes | None, largest: int) -> tuple[bytes, str]:
        """Return the answer and its ``Link`` header."""
        headers = {**self._headers, "User-Agent": "ebbtide-gate", "Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, content, headers, method=method)  # noqa: S310
        with self._opener.open(request, timeout=SECONDS) as answer:
            return answer.read(largest), answer.headers.get("Link", "")


def quoted(part: str | int) -> str:
    """Return one part of a path, percent-encoded."""
    return urllib.parse.quote(str(part), safe="")


def _url(path: str, query: Mapping[str, str | int]) -> str:
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path
