"""Comment on a GitHub pull request, and status of its commit: ``python3 -m infra.gate.comment_github``.

Runs after the judging run has ended, from the protected branch, with a token that may write. It takes everything it
knows about the pull request from GitHub, nothing from the report. Sources: GitHub Docs, Events that trigger workflows
(workflow_run); REST API endpoints for pull requests, artifacts, issue comments and commit statuses.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.gate.comment import LARGEST_ARCHIVE, MARK, Api, NotAReport, Run, body, quoted, reports

WORKFLOW = ".github/workflows/gate.yml"
ARTIFACT = "ebbtide-gate"
BOT = "github-actions[bot]"
STATUS = "ebbtide/gate"
_MOST_FILES = 3000  # GitHub lists no more


def main() -> int:
    token = os.environ["GITHUB_TOKEN"]
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    api = Api(
        os.environ.get("GITHUB_API_URL", "https://api.github.com"),
        {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"},
    )
    print(comment(api, os.environ["GITHUB_REPOSITORY"], event))
    return 0


def comment(api: Api, repository: str, event: Mapping[str, Any]) -> str:
    """Comment on the pull requests whose head the run has judged; return what was done, in words."""
    run, home = event["workflow_run"], f"/repos/{repository}"
    if run["event"] != "pull_request" or str(run["path"]).partition("@")[0] != WORKFLOW:
        return "not a run of the gate on a pull request"
    pulls = _pulls(api, home, run, str(event["repository"]["default_branch"]))
    if not pulls:
        return "no open pull request has this head any more"
    found = _found(api, home, int(run["id"]))
    for pull in pulls:
        told = Run(
            commit=str(run["head_sha"]),
            page=str(run["html_url"]),
            passed=run["conclusion"] == "success" and not isinstance(found, str),
            edited=_edited(api, home, pull),
        )
        _write(api, home, int(pull["number"]), body(found, told))
        _status(api, home, told)
    return "commented on " + ", ".join(f"#{int(pull['number'])}" for pull in pulls)


def _pulls(api: Api, home: str, run: Mapping[str, Any], base: str) -> list[Mapping[str, Any]]:
    """Return the branch's open pull requests with the judged head: a push meanwhile makes the report stale."""
    source = run.get("head_repository") or {}
    if not source:
        return []
    head = f"{source['owner']['login']}:{run['head_branch']}"
    listed = api.get(f"{home}/pulls", state="open", head=head, base=base, per_page=100)
    return [
        pull
        for pull in listed
        if pull["head"]["sha"] == run["head_sha"]
        and (pull["head"]["repo"] or {}).get("full_name") == source["full_name"]
        and pull["base"]["ref"] == base
    ]


def _edited(api: Api, home: str, pull: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the pipeline's files that the change edits: GitHub takes the judging workflow from the change itself."""
    files = list(api.pages(f"{home}/pulls/{int(pull['number'])}/files"))
    if len(files) >= _MOST_FILES:
        return ("more files than GitHub lists",)
    names = [str(name) for file in files for name in (file["filename"], file.get("previous_filename") or "")]
    return tuple(name for name in names if name.startswith(".github/"))


def _found(api: Api, home: str, run: int) -> dict[str, str] | str:
    listed = api.get(f"{home}/actions/runs/{run}/artifacts", name=ARTIFACT, per_page=100)["artifacts"]
    left = [each for each in listed if each["name"] == ARTIFACT and not each["expired"]]
    if not left:
        return "the run left none behind"
    newest = max(left, key=lambda each: (str(each["created_at"]), int(each["id"])))
    if int(newest["size_in_bytes"]) > LARGEST_ARCHIVE:
        return f"it is larger than {LARGEST_ARCHIVE // 2**20} MiB"
    try:
        return reports(api.download(f"{home}/actions/artifacts/{int(newest['id'])}/zip", LARGEST_ARCHIVE))
    except NotAReport as problem:
        return str(problem)


def _write(api: Api, home: str, number: int, text: str) -> None:
    """Write the comment, over our earlier one if there is one; another author's with our marker is left alone."""
    for said in api.pages(f"{home}/issues/{number}/comments"):
        if said["user"]["login"] == BOT and str(said["body"]).startswith(MARK):
            api.send("PATCH", f"{home}/issues/comments/{int(said['id'])}", {"body": text})
            return
    api.send("POST", f"{home}/issues/{number}/comments", {"body": text})


def _status(api: Api, home: str, run: Run) -> None:
    words = "may pass" if run.passed else "blocked"
    if run.edited:
        words = "edits its own pipeline: a maintainer has to read it"
    state = "success" if run.counts else "failure"
    content = {"state": state, "context": STATUS, "description": words, "target_url": run.page}
    api.send("POST", f"{home}/statuses/{quoted(run.commit)}", content)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except urllib.error.HTTPError as refused:
        print(f"error: GitHub refused {refused.url}: {refused.code}", file=sys.stderr)
        sys.exit(1)
