"""Comments on the open merge requests of a GitLab project: ``python3 -m infra.gate.comment_gitlab``, on a schedule.

Runs on the protected branch with a token that jobs of merge requests cannot see. It takes everything it knows about a
merge request from GitLab, nothing from the report. Sources: GitLab Docs, Merge request pipelines (Use with forked
projects); Merge requests API, Pipelines API, Job artifacts API, Notes API, Protected branches API, Merge request
approvals API.
"""

from __future__ import annotations

import os
import sys
import urllib.error
from collections.abc import Mapping
from typing import Any

from infra.gate.comment import MARK, Api, MoreThanListed, Run, body, fetch, owners_of, quoted

JUDGE, OWNER = "gate", "owner"  # the pipeline's jobs: blocked, and needs an owner
# the first three name the code owners
PIPELINE_FILES = ("CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS", ".gitlab-ci.yml")
PIPELINE_FOLDER = "recipes/gitlab/"


def main() -> int:
    api = Api(os.environ["CI_API_V4_URL"], {"PRIVATE-TOKEN": os.environ["EBBTIDE_GATE_TOKEN"]})
    project, branch = os.environ["CI_PROJECT_ID"], os.environ["CI_DEFAULT_BRANCH"]
    me = int(api.get("/user")["id"])
    missing = _missing(api, project, branch)
    failed = 0
    for request in api.pages(f"/projects/{quoted(project)}/merge_requests", state="opened", target_branch=branch):
        try:
            print(f"!{int(request['iid'])}: {comment(api, project, int(request['iid']), me, missing)}")
        except urllib.error.HTTPError as refused:
            failed = 1
            print(f"!{int(request['iid'])}: error: GitLab refused: {refused.code}", file=sys.stderr)
        except MoreThanListed as problem:
            failed = 1
            print(f"!{int(request['iid'])}: error: {problem}", file=sys.stderr)
    return failed


def comment(api: Api, project: str, number: int, me: int, missing: str) -> str:
    """Comment on one merge request if its head was judged; return what was done, in words. ``missing`` is what keeps
    GitLab from asking for a code owner."""
    home = f"/projects/{quoted(project)}/merge_requests/{number}"
    request = api.get(home)
    pipeline = request.get("head_pipeline") or {}
    if not pipeline or pipeline["sha"] != request["sha"]:
        return "its head has no pipeline yet"
    # a fork's pipeline is in the fork
    jobs = f"/projects/{quoted(int(pipeline['project_id']))}"
    ran = sorted(api.pages(f"{jobs}/pipelines/{int(pipeline['id'])}/jobs"), key=lambda each: int(each["id"]))
    last = {str(job["name"]): job for job in ran}
    job, owner = last.get(JUDGE), last.get(OWNER) or {}
    if job is None or job["status"] not in ("success", "failed"):
        return "its head is not judged yet"
    passed = job["status"] == "success"
    if passed and owner.get("status") not in ("success", "failed"):
        return "its head is not judged yet"
    texts = _reports(api, jobs, job)
    names, edited = _names(api, home)
    # the list is of the head as it was when asked: a push before that would have shown another change's files
    if api.get(home)["sha"] != request["sha"]:
        return "it was pushed to meanwhile"
    run = Run(
        commit=str(request["sha"]),
        page=str(job["web_url"]),
        passed=passed and not isinstance(texts, str),
        edited=edited,
        owners=owners_of(names, required=passed and owner["status"] != "success", missing=missing),
    )
    return _write(api, home, me, body(texts, run))


def _names(api: Api, home: str) -> tuple[list[str], tuple[str, ...]]:
    """Return every path that the change touches, old names too, and those among them that are the pipeline's. A change
    of more files than can be listed may touch any."""
    try:
        changed = list(api.pages(f"{home}/diffs"))
    except MoreThanListed:
        return [], ("more files than are listed",)
    names = sorted({str(each[key]) for each in changed for key in ("old_path", "new_path")})
    return names, tuple(name for name in names if name in PIPELINE_FILES or name.startswith(PIPELINE_FOLDER))


def _missing(api: Api, project: str, branch: str) -> str:
    """Return what to turn on so that GitLab asks for an approval that the author cannot give; empty if it does."""
    home = f"/projects/{quoted(project)}"
    try:
        if api.get(f"{home}/protected_branches/{quoted(branch)}").get("code_owner_approval_required") is True:
            return ""
        if any(_asks(rule, branch) for rule in api.pages(f"{home}/approval_rules")):
            return ""
    except urllib.error.HTTPError:
        pass  # a tier without them, or no rights to see them
    return (
        f"turn on Require approval from code owners for the protected branch {branch}, or add an approval rule for it"
    )


def _asks(rule: Mapping[str, Any], branch: str) -> bool:
    """Return whether an approval rule names who has to approve and holds for the branch."""
    named = rule["rule_type"] == "regular" and int(rule["approvals_required"]) > 0
    branches = [each["name"] for each in rule.get("protected_branches") or ()]
    return named and (not branches or branch in branches or rule.get("applies_to_all_protected_branches") is True)


def _reports(api: Api, jobs: str, job: Mapping[str, Any]) -> dict[str, str] | str:
    file = job.get("artifacts_file")
    if not file:
        return "the job left none behind"
    return fetch(api, f"{jobs}/jobs/{int(job['id'])}/artifacts", int(file["size"]))


def _write(api: Api, home: str, me: int, text: str) -> str:
    for earlier in api.pages(f"{home}/notes"):
        if int(earlier["author"]["id"]) == me and str(earlier["body"]).startswith(MARK):
            if str(earlier["body"]).strip() == text.strip():
                return "nothing new"
            api.send("PUT", f"{home}/notes/{int(earlier['id'])}", {"body": text})
            return "comment updated"
    api.send("POST", f"{home}/notes", {"body": text})
    return "commented"


if __name__ == "__main__":
    sys.exit(main())
