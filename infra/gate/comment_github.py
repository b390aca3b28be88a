"""Comment on a GitHub pull request, and status of its commit: ``python3 -m infra.gate.comment_github``.

Runs after the judging run has ended, from the protected branch, with a token that may write. It takes everything it
knows about the pull request from GitHub, nothing from the report. Sources: GitHub Docs, Events that trigger workflows
(workflow_run); REST API endpoints for pull requests, workflow jobs, artifacts, issue comments, commit statuses, rules
of a branch and CODEOWNERS errors; About code owners.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.gate.code_owners import PLACES, UNREADABLE, in_force, unowned
from infra.gate.comment import MARK, Api, MoreThanListed, Owners, Run, body, fetch, owners_of, quoted

WORKFLOW = ".github/workflows/gate.yml"
ARTIFACT = "ebbtide-gate"
BOT = "github-actions[bot]"
STATUS = "ebbtide/gate"
JUDGE, OWNER = "judge", "owner"  # the run's jobs: blocked, and needs an owner
_MOST_FILES = 3000  # GitHub lists no more
_LONGEST_STATUS = 140
# what a rule of the branch must ask for, and the words for it on the ruleset's page
_PROTECTIONS = (
    ("require_code_owner_review", "Require review from Code Owners"),
    # an approval must not outlive what was approved
    ("dismiss_stale_reviews_on_push", "Dismiss stale pull request approvals when new commits are pushed"),
    # nor come from an owner for a push of their own to somebody else's pull request
    ("require_last_push_approval", "Require approval of the most recent reviewable push"),
)


def main() -> int:
    token = os.environ["GITHUB_TOKEN"]
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    api = Api(
        os.environ.get("GITHUB_API_URL", "https://api.github.com"),
        {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"},
    )
    # the checkout is the protected branch's
    print(comment(api, os.environ["GITHUB_REPOSITORY"], event, in_force(Path.cwd())))
    return 0


def comment(api: Api, repository: str, event: Mapping[str, Any], code_owners: str) -> str:
    """Comment on the pull requests whose head the run has judged; return what was done, in words. ``code_owners`` is
    the protected branch's CODEOWNERS."""
    run, home = event["workflow_run"], f"/repos/{repository}"
    if run["event"] != "pull_request" or str(run["path"]).partition("@")[0] != WORKFLOW:
        return "not a run of the gate on a pull request"
    if run["conclusion"] == "action_required":
        # such a run has ended without a job, and is run anew once a maintainer has approved it
        return "the run waits for a maintainer, who has to approve that a new contributor's pull request is run"
    base = str(event["repository"]["default_branch"])
    pulls = _pulls(api, home, run, base)
    if not pulls:
        return "no open pull request has this head any more"
    texts, ended, rules = (
        _reports(api, home, int(run["id"])),
        _ended(api, home, int(run["id"])),
        _rules(api, home, base),
    )
    actions = []
    for pull in pulls:
        number = int(pull["number"])
        names = _names(api, home, number)
        # the list is of the head as it was when asked: a push before that would have shown another change's files
        if api.get(f"{home}/pulls/{number}")["head"]["sha"] != run["head_sha"]:
            actions.append(f"#{number} was pushed to meanwhile")
            continue
        # by the run's word or by this job's own look at the files, whichever says so
        owners = owners_of(names or (), required=ended.get(JUDGE) == "success" and ended.get(OWNER) != "success")
        if owners.needed:
            owners = replace(owners, missing=_missing(api, home, base, owners, rules, code_owners))
        judged = Run(
            commit=str(run["head_sha"]),
            page=str(run["html_url"]),
            passed=ended.get(JUDGE) == "success" and OWNER in ended and not isinstance(texts, str),
            edited=_edited(names),
            owners=owners,
            note=_note(base, rules),
        )
        _write(api, home, number, body(texts, judged))
        _status(api, home, judged)
        actions.append(f"commented on #{number}")
    return ", ".join(actions)


def _ended(api: Api, home: str, run: int) -> dict[str, str]:
    """Return how each of the run's jobs has ended, in its last attempt. Empty if they are not the two that are known: a
    job that somebody adds may pass for another."""
    jobs = api.get(f"{home}/actions/runs/{run}/jobs", filter="latest", per_page=100)["jobs"]
    ended = [(str(job["name"]), str(job["conclusion"])) for job in jobs]
    return dict(ended) if sorted(name for name, _ in ended) == [JUDGE, OWNER] else {}


def _rules(api: Api, home: str, branch: str) -> list[Mapping[str, Any]] | None:
    """Return the rules that are enforced on the branch, from rulesets of every level; None if nobody may see them. A
    classic branch protection's are not among them, and take rights to read that no workflow has."""
    try:
        return list(api.pages(f"{home}/rules/branches/{quoted(branch)}"))
    except urllib.error.HTTPError:
        return None


def _parameters(rules: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [rule.get("parameters") or {} for rule in rules if rule["type"] == kind]


def _note(branch: str, rules: Sequence[Mapping[str, Any]] | None) -> str:
    strict = "strict_required_status_checks_policy"
    if any(one.get(strict) is True for one in _parameters(rules or (), "required_status_checks")):
        return ""
    return (
        f"No ruleset of {branch} asks for branches to be up to date before merging: "
        f"this was judged on {branch} as it was then, and a waiver or a rule may have changed since"
    )


def _missing(
    api: Api,
    home: str,
    branch: str,
    change: Owners,
    rules: Sequence[Mapping[str, Any]] | None,
    code_owners: str,
) -> str:
    """Return what to turn on so that GitHub asks for a code owner's approval; empty if it does."""
    if rules is None:
        return f"the rules of {branch} cannot be read; put it under a ruleset"
    parameters = _parameters(rules, "pull_request")
    for key, words in _PROTECTIONS:
        if not any(one.get(key) is True for one in parameters):
            return f"turn on {words} in a ruleset of {branch}"
    if not any(int(one.get("required_approving_review_count") or 0) for one in parameters):
        return f"ask for at least 1 approval in a ruleset of {branch}"
    try:
        if api.get(f"{home}/codeowners/errors", ref=branch)["errors"]:
            return "CODEOWNERS has lines that GitHub passes over; its page says which"
    except urllib.error.HTTPError:
        return f"{branch} has no CODEOWNERS; docs/examples/ has one"
    if UNREADABLE in code_owners:
        return "CODEOWNERS is not UTF-8; write it anew as that"
    free = unowned(code_owners, change.files)
    # an approval is for the whole change: where the data asks for it, one owned file makes GitHub ask for one
    if free and change.program:
        return f"CODEOWNERS names nobody for {free[0]}"
    if free and len(free) == len(change.files):
        return f"add owners for {free[0]} to CODEOWNERS first, or leave out what asks for one"
    return ""


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


def _names(api: Api, home: str, pull: int) -> list[str] | None:
    """Return every path that the change touches, old names too; None if there are more than GitHub lists."""
    files = list(api.pages(f"{home}/pulls/{pull}/files"))
    if len(files) >= _MOST_FILES:
        return None
    return [str(name) for file in files for name in (file["filename"], file.get("previous_filename") or "") if name]


def _edited(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the pipeline's files that the change edits: GitHub takes the judging workflow from the change itself."""
    if names is None:
        return ("more files than GitHub lists",)
    return tuple(name for name in names if name.startswith(".github/") or name in PLACES)


def _reports(api: Api, home: str, run: int) -> dict[str, str] | str:
    listed = api.get(f"{home}/actions/runs/{run}/artifacts", name=ARTIFACT, per_page=100)["artifacts"]
    left = [each for each in listed if each["name"] == ARTIFACT and not each["expired"]]
    if not left:
        return "the run left none behind"
    newest = max(left, key=lambda each: (str(each["created_at"]), int(each["id"])))
    return fetch(api, f"{home}/actions/artifacts/{int(newest['id'])}/zip", int(newest["size_in_bytes"]))


def _write(api: Api, home: str, number: int, text: str) -> None:
    """Write the comment, over our earlier one if there is one; another author's with our marker is left alone."""
    for earlier in api.pages(f"{home}/issues/{number}/comments"):
        if earlier["user"]["login"] == BOT and str(earlier["body"]).startswith(MARK):
            api.send("PATCH", f"{home}/issues/comments/{int(earlier['id'])}", {"body": text})
            return
    api.send("POST", f"{home}/issues/{number}/comments", {"body": text})


def _status(api: Api, home: str, run: Run) -> None:
    counts, words = run.verdict
    content = {
        "state": "success" if counts else "failure",
        "context": STATUS,
        "description": words if len(words) <= _LONGEST_STATUS else words[: _LONGEST_STATUS - 1] + "…",
        "target_url": run.page,
    }
    api.send("POST", f"{home}/statuses/{quoted(run.commit)}", content)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except urllib.error.HTTPError as refused:
        print(f"error: GitHub refused {refused.url}: {refused.code}", file=sys.stderr)
        sys.exit(1)
    except MoreThanListed as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
