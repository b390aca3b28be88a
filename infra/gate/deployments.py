"""The stacks that pipelines deploy, in their order, as ``stacks/deployments.json`` lists them.

``python3 -m infra.gate.deployments github`` prints the outputs of a step of GitHub's, ``… clouds FILE…`` the clouds
whose packages are needed for these lists. Only the standard library is needed: pipelines ask before they install.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

DEPLOYMENTS = Path("stacks") / "deployments.json"
STACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
STACK_FILE = re.compile(r"stacks/Pulumi\.([^/]+)\.yaml", re.DOTALL)
_LIKE_ONE = re.compile(r"stacks/[\W_]*pulumi\W[^/]*", re.DOTALL)
_ROOT = Path(__file__).resolve().parents[2]
_KEYS = ("stack", "cloud")
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class WrongDeployments(Exception):
    """The list of deployed stacks cannot be read; the message says why."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f'{DEPLOYMENTS}: {why}; allowed: {{"stacks": [{{"stack": "NAME of stacks/Pulumi.NAME.yaml", "cloud": "its '
            "platform's kind\"}, …]}, each stack once, at least one; fix: write it like that"
        )


def listed(folder: Path) -> list[dict[str, str]]:
    """Return the entries of the list in ``folder``, each with its ``stack`` and ``cloud``; none where there is no list.
    Raises ``WrongDeployments``."""
    if not (folder / DEPLOYMENTS).is_file():
        return []
    try:
        read = json.loads((folder / DEPLOYMENTS).read_text(encoding="utf-8"))
        entries = [{key: each[key] for key in _KEYS} for each in read["stacks"]]
        keys = {*read} - {"about", "stacks"} | {key for each in read["stacks"] for key in each} - {*_KEYS}
    except _UNREADABLE:
        raise WrongDeployments("cannot be read") from None
    names = [entry["stack"] for entry in entries]
    if not all(isinstance(value, str) and STACK_NAME.fullmatch(value) for each in entries for value in each.values()):
        raise WrongDeployments("cannot be read")
    if keys:
        raise WrongDeployments(f"has a key that nobody reads, {min(keys)[:40]!r}")
    if not names:
        raise WrongDeployments("lists no stack")
    for name in names:
        if names.count(name) > 1:
            raise WrongDeployments(f"lists {name[:60]} more than once")
        if not (folder / "stacks" / f"Pulumi.{name}.yaml").is_file():
            raise WrongDeployments(f"lists {name[:60]}, which has no stack file")
    return entries


def misnamed(changed: Iterable[str], there: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with the names of ``changed`` files that are stack files or could be taken for one, beside
    the files that are ``there``: Pulumi passes over a name that differs a little, and some disks take two for one."""
    changed = list(changed)
    alike: dict[str, set[str]] = {}
    for path in {*changed, *there}:
        alike.setdefault(_folded(path), set()).add(path)
    for path in changed:
        named, others = STACK_FILE.fullmatch(path), sorted(alike[_folded(path)] - {path})
        is_like_one = bool(_LIKE_ONE.fullmatch(_folded(path)))
        if is_like_one and others:
            yield f"{path!a} differs from {others[0]!a} in case or in what nobody sees; fix: rename one of the two"
        elif (is_like_one or (path.startswith("stacks/") and not path.isascii())) and not (
            named and STACK_NAME.fullmatch(named[1])
        ):
            allowed = "stacks/Pulumi.NAME.yaml with letters, digits, . _ - in NAME"
            yield f"{path!a} has a name that no stack can have; allowed: {allowed}; fix: rename it, or take it out"


def _folded(path: str) -> str:
    """Return a path without what a disk or a reader may pass over: case, accents, width, marks that are not shown."""
    plain = unicodedata.normalize("NFKD", path).casefold()
    return "".join(letter for letter in plain if unicodedata.category(letter) not in ("Cc", "Cf", "Mn", "Zs"))


def deployed(folder: Path) -> tuple[str, ...]:
    """Return the stacks that the list in ``folder`` has, in its order; all stacks where there is no list. Raises
    ``WrongDeployments``."""
    if (folder / DEPLOYMENTS).is_file():
        return tuple(each["stack"] for each in listed(folder))
    files = (f"stacks/{path.name}" for path in sorted((folder / "stacks").glob("Pulumi.*.yaml")))
    return tuple(match[1] for file in files if (match := STACK_FILE.fullmatch(file)))


def for_pipelines(folder: Path) -> list[dict[str, str]]:
    """Return the entries for a pipeline, which knows how to get credentials for a cloud and for nothing else. Raises
    ``WrongDeployments``."""
    entries = listed(folder)
    if not entries:
        raise WrongDeployments("is not there")
    for each in entries:
        if each["cloud"] not in _known():
            raise WrongDeployments(f"{each['stack'][:60]}: pipelines deploy to {', '.join(sorted(_known()))}")
    return entries


def clouds(files: Iterable[Path]) -> list[str]:
    """Return the clouds in these lists. One of a stranger's, which may be anything, adds none but clouds."""
    names: set[str] = set()
    for file in files:
        try:
            names |= {str(each["cloud"]) for each in json.loads(file.read_text(encoding="utf-8"))["stacks"]}
        except _UNREADABLE:
            continue  # the gate says what is wrong with it
    return sorted(names & _known())


def _known() -> set[str]:
    """Return the clouds, each of which has a lock of its packages."""
    return {lock.stem for lock in (_ROOT / "locks").glob("*.txt")} - {"dev"}


def main(arguments: list[str]) -> int:
    """Print what a pipeline asks for."""
    command, *rest = arguments
    if command == "clouds":
        for cloud in clouds(map(Path, rest)):
            print(cloud)
        return 0
    if command != "github" or rest:
        print("usage: python3 -m infra.gate.deployments github | clouds FILE…", file=sys.stderr)
        return 2
    try:
        entries = for_pipelines(Path())
    except WrongDeployments as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    print(f"all={json.dumps(entries)}\ncount={len(entries)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or [""]))
