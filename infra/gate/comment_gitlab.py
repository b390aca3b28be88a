"""Comments on the open merge requests of a GitLab project: ``python3 -m infra.gate.comment_gitlab``, on a schedule.

Runs on the protected branch with a token that jobs of merge requests cannot see. It takes everything it knows about a
merge request from GitLab, nothing from the report. Sources: GitLab Docs, Merge request pipelines (Use with forked
projects); Merge requests API, Pipelines API, Job artifacts API, Notes API.
"""

from __future__ import annotations

import os
import sys
import urllib.error
from collections.abc import Mapping
from typing import Any

from infra.gate.comment import LARGEST_ARCHIVE, MARK, Api, NotAReport, Run, body, quoted, reports

JOB = "gate"
PIPELINE_FILES = (".gitlab-ci.yml", "recipes/gitlab/ebbtide.yml")


def main() -> int:
    api = Api(os.environ["CI_API_V4_URL"], {"PRIVATE-TOKEN": os.environ["EBBTIDE_GATE_TOKEN"]})
    project, branch = os.environ["CI_PROJECT_ID"], os.environ["CI_DEFAULT_BRANCH"]
    me = int(api.get("/user")["id"])
    failed = 0
    for request in api.pages(f"/projects/{quoted(project)}/merge_requests", state="opened", target_branch=branch):
        try:
            print(f"!{int(request['iid'])}: {comment(api, project, int(request['iid']), me)}")
        except urllib.error.HTTPError as refused:
            failed = 1
            print(f"!{int(request['iid'])}: error: GitLab refused: {refused.code}", file=sys.stderr)
    return failed


def comment(api: Api, project: str, number: int, me: int) -> str:
    """Comment on one merge request if its head was judged; return what was done, in words."""
    home = f"/projects/{quoted(project)}/merge_requests/{number}"
    request = api.get(home)
    pipeline = request.get("head_pipeline") or {}
    if not pipeline or pipeline["sha"] != request["sha"]:
        return "its head has no pipeline yet"
    # a fork's pipeline is in the fork
    jobs = f"/projects/{quoted(int(pipeline['project_id']))}"
    ran = [job for job in api.pages(f"{jobs}/pipelines/{int(pipeline['id'])}/jobs") if job["name"] == JOB]
    job = max(ran, key=lambda each: int(each["id"]), default=None)
    if job is None or job["status"] not in ("success", "failed"):
        return "its head is not judged yet"
    found = _found(api, jobs, job)
    changed = api.pages(f"{home}/diffs")
    names = {str(each[key]) for each in changed for key in ("old_path", "new_path")}
    run = Run(
        commit=str(request["sha"]),
        page=str(job["web_url"]),
        passed=job["status"] == "success" and not isinstance(found, str),
        edited=tuple(sorted(name for name in names if name in PIPELINE_FILES)),
    )
    return _write(api, home, me, body(found, run))


def _found(api: Api, jobs: str, job: Mapping[str, Any]) -> dict[str, str] | str:
    file = job.get("artifacts_file")
    if not file:
        return "the job left none behind"
    if int(file["size"]) > LARGEST_ARCHIVE:
        return f"it is larger than {LARGEST_ARCHIVE // 2**20} MiB"
    try:
        return reports(api.download(f"{jobs}/jobs/{int(job['id'])}/artifacts", LARGEST_ARCHIVE))
    except NotAReport as problem:
        return str(problem)


def _write(api: Api, home: str, me: int, text: str) -> str:
    for said in api.pages(f"{home}/notes"):
        if int(said["author"]["id"]) == me and str(said["body"]).startswith(MARK):
            if str(said["body"]).strip() == text.strip():
                return "nothing new"
            api.send("PUT", f"{home}/notes/{int(said['id'])}", {"body": text})
            return "comment updated"
    api.send("POST", f"{home}/notes", {"body": text})
    return "commented"


if __name__ == "__main__":
    sys.exit(main())
