"""The job that may write: what a stranger's report, branch, comment or host can get it to do."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from infra.gate import comment_gitlab
from infra.gate.code_owners import in_force
from infra.gate.comment import (
    LARGEST_REPORT,
    LONGEST,
    MARK,
    Api,
    MoreThanListed,
    NotAReport,
    Owners,
    Run,
    body,
    harmless,
    reports,
)
from infra.gate.comment_github import BOT, comment

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "pull-request-comment.md"
SHA, OTHER = "a" * 40, "b" * 40
OWNERS = (ROOT / "docs" / "examples" / "CODEOWNERS").read_text()
RUN = Run(commit=SHA, page="https://forge.example/run/1", passed=True)


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, text in files.items():
            opened.writestr(name.replace("__", "/").replace("_", "."), text)
    return buffer.getvalue()


# text of a stranger


def test_a_report_of_ours_looks_the_same_afterwards() -> None:
    ours = EXAMPLE.read_text()
    assert ours.startswith(MARK + "\n")
    assert harmless(ours) == ours.removeprefix(MARK + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "@everyone", "cc @org/team", "<img src=x>", "<!-- ebbtide-gate -->", "[a](//evil.example)", "![a](b)", "[a][b]",
        "[b]: //evil.example", "https://evil.example", "www.evil.example", "#12", "!12", "GH@x", "/approve", "  /merge",
        "<details onclick=x>", "</details><script>", "\u202eright to left", "<a href=x>y</a>", "org/repo#7",
    ],
)  # fmt: skip
def test_nothing_in_a_report_is_acted_on_by_a_forge(text: str) -> None:
    shown = harmless(f"x\n{text}\n")
    assert text not in shown.splitlines()
    assert "<" not in shown.replace("</details>", "")
    assert "](" not in shown
    assert "@\u200b" in shown or "@" not in shown


def test_a_tag_that_was_escaped_stays_escaped() -> None:
    assert harmless("&lt;details&gt;") == "&lt;details&gt;"


def test_a_report_that_unfolds_to_gigabytes_is_refused_before_it_is_read() -> None:
    with pytest.raises(NotAReport, match="larger than 256 KiB"):
        reports(archive(bad_md="x" * (LARGEST_REPORT + 1)))


def test_only_reports_by_the_name_of_a_stack_are_read() -> None:
    texts = reports(archive(good_md="a", report__other_md="b", ______etc__passwd_md="c", good_json="{}"))
    assert texts == {"good": "a", "other": "b"}


@pytest.mark.parametrize("content", [b"", b"no archive", archive(), archive(a_json="{}")])
def test_what_is_no_report_is_told_as_such(content: bytes) -> None:
    with pytest.raises(NotAReport):
        reports(content)


def test_more_stacks_than_a_comment_shows_are_counted_and_refuse_nothing(github: Forge) -> None:
    texts = {f"stack-{number:02}_md": f"## ✅ stack-{number:02}" for number in range(25)}
    github.elsewhere.answers["/blob"] = archive(gate_md="## ✅ all", **texts)  # type: ignore[attr-defined]
    state, words, body = acted(github)
    assert (state, words) == ("success", "may pass")
    assert body.count("## ✅ stack-") == 20
    assert "## ✅ all" in body
    assert "And 5 more stacks, not shown here" in body


def test_a_text_that_is_not_utf_8_is_no_report() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr("good.md", b"\xff\xfe")
    with pytest.raises(NotAReport, match="UnicodeDecodeError"):
        reports(buffer.getvalue())


def test_a_comment_is_never_longer_than_a_forge_takes_and_what_blocks_comes_first() -> None:
    text = body({"a": "## ✅ a\n" + "<details>\nx\n" * 9000, "b": "## ⛔ b\n" + "y\n" * 90000}, RUN)
    assert len(text) <= LONGEST
    assert text.index("⛔ b") < text.index("✅ a")
    assert text.count("<details>") == text.count("</details>")


def test_a_change_of_the_pipeline_itself_is_said_above_everything_and_does_not_count() -> None:
    run = Run(SHA, RUN.page, passed=True, edited=(".github/workflows/gate.yml",))
    assert run.verdict == (False, "edits its own pipeline: a maintainer has to read it")
    assert body({"a": "## ✅ a"}, run).splitlines()[1].startswith("> ⚠️ **This change edits its own pipeline**")


def test_the_files_that_need_an_owner_are_named_and_counted_and_the_comment_stays_short_enough() -> None:
    names = tuple(f"infra/{'x' * 300}{number}.py" for number in range(50))
    text = body({"a": "## ✅ a\n" * 20000}, Run(SHA, RUN.page, passed=True, owners=Owners(program=names)))
    assert "**A code owner has to approve**: no judge can vouch for a program. 50 files:" in text
    assert text.count("> - `infra/") == 20
    assert "> - and 30 more" in text
    assert len(text) <= LONGEST


def test_a_files_name_is_no_markup_in_the_comment() -> None:
    text = body({}, Run(SHA, RUN.page, passed=True, owners=Owners(program=("infra/`@all`](x)<b>.py",))))
    assert "> - `infra/??all??(x)?b?.py`" in text


def test_the_head_page_over_all_stacks_comes_first() -> None:
    text = body({"a": "## ⛔ a", "gate": "## ✅ all"}, RUN)
    assert text.index("all") < text.index("⛔ a")


# GitHub


class Part(list[Any]):
    """A page of a list, with a link to the next."""


class Forge:
    """A forge on loopback: answers by path, and what was sent to it."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.sent: list[tuple[str, str, Any]] = []
        self.asked: list[tuple[str, dict[str, list[str]], str | None]] = []
        forge = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                where = urlsplit(self.path)
                token = self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN")
                forge.asked.append((where.path, parse_qs(where.query), token))
                answer = forge.answers.get(where.path)
                if callable(answer):
                    answer = answer(parse_qs(where.query))
                if isinstance(answer, tuple):
                    self.send_response(302)
                    self.send_header("Location", answer[0])
                    self.end_headers()
                    return
                self.send_response(404 if answer is None else 200)
                if isinstance(answer, Part):
                    self.send_header("Link", f'<{forge.url}{where.path}>; rel="next", <{forge.url}>; rel="last"')
                self.end_headers()
                self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

            def _take(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                forge.sent.append((self.command, self.path, content))
                self.send_response(200)
                self.end_headers()

            do_POST = do_PATCH = do_PUT = _take  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def make_forge() -> Iterator[Callable[[], Forge]]:
    forges: list[Forge] = []

    def make() -> Forge:
        forges.append(Forge())
        return forges[-1]

    yield make
    for forge in forges:
        forge.server.shutdown()
        forge.server.server_close()


def ended(judge: str, owner: str, *more: tuple[str, str]) -> dict[str, Any]:
    jobs = [("judge", judge), ("owner", owner), *more]
    return {"jobs": [{"name": name, "conclusion": conclusion} for name, conclusion in jobs]}


def rules(**changed: Any) -> list[dict[str, Any]]:
    """What a ruleset as docs/pull-requests.md describes it gives."""
    asked = {"require_code_owner_review": True, "dismiss_stale_reviews_on_push": True,
             "require_last_push_approval": True, "required_approving_review_count": 1, **changed}  # fmt: skip
    checks = {"strict_required_status_checks_policy": True}
    return [
        {"type": "deletion"},
        {"type": "pull_request", "parameters": asked},
        {"type": "required_status_checks", "parameters": checks},
    ]


@pytest.fixture
def github(make_forge: Callable[[], Forge]) -> Forge:
    """A pull request from a fork, judged, with a comment of a stranger's who knows the marker."""
    forge, elsewhere = make_forge(), make_forge()
    elsewhere.answers["/blob"] = archive(prod_md="## ✅ prod: may pass\n@everyone")
    forge.answers = {
        "/repos/o/r/pulls": [
            {"number": 7, "head": {"sha": SHA, "repo": {"full_name": "fork/r"}}, "base": {"ref": "main"}},
            {"number": 8, "head": {"sha": SHA, "repo": {"full_name": "fork/r"}}, "base": {"ref": "other"}},
        ],
        "/repos/o/r/pulls/7": {"head": {"sha": SHA}},
        "/repos/o/r/pulls/7/files": [{"filename": "stacks/Pulumi.dev.yaml"}],
        "/repos/o/r/actions/runs/1/artifacts": {
            "artifacts": [
                {"id": 3, "name": "ebbtide-gate", "expired": False, "size_in_bytes": 500, "created_at": "2026-01-02"},
                {"id": 2, "name": "ebbtide-gate", "expired": False, "size_in_bytes": 500, "created_at": "2026-01-01"},
            ]
        },
        "/repos/o/r/actions/runs/1/jobs": ended("success", "success"),
        "/repos/o/r/rules/branches/main": rules(),
        "/repos/o/r/codeowners/errors": {"errors": []},
        "/repos/o/r/actions/artifacts/3/zip": (f"{elsewhere.url.replace('127.0.0.1', 'localhost')}/blob",),
        "/repos/o/r/issues/7/comments": [{"id": 50, "user": {"login": "stranger"}, "body": f"{MARK}\nmine"}],
    }
    forge.elsewhere = elsewhere  # type: ignore[attr-defined]
    return forge


def event(**changed: Any) -> dict[str, Any]:
    run = {
        "id": 1, "event": "pull_request", "path": ".github/workflows/gate.yml", "head_sha": SHA,
        "conclusion": "success", "head_branch": "a&b=c", "html_url": RUN.page,
        "head_repository": {"full_name": "fork/r", "owner": {"login": "fork"}},
    }  # fmt: skip
    return {"workflow_run": {**run, **changed}, "repository": {"default_branch": "main"}}


def act(forge: Forge, changed: dict[str, Any] | None = None) -> str:
    return comment(Api(forge.url, {"Authorization": "Bearer secret"}), "o/r", changed or event(), OWNERS)


def acted(forge: Forge) -> tuple[str, str, str]:
    """The status, its words, and the comment."""
    act(forge)
    comment, status = forge.sent[0][2], forge.sent[-1][2]
    assert len(status["description"]) <= 140
    return status["state"], status["description"], comment["body"]


def test_a_judged_pull_request_of_a_fork_gets_one_comment_and_a_status(github: Forge) -> None:
    assert act(github) == "commented on #7"
    (how, where, comment), (_, there, status) = github.sent
    assert (how, where) == ("POST", "/repos/o/r/issues/7/comments")
    assert comment["body"].startswith(MARK)
    assert "@\u200beveryone" in comment["body"]
    assert there == f"/repos/o/r/statuses/{SHA}"
    assert (status["state"], status["context"]) == ("success", "ebbtide/gate")


def test_a_second_run_writes_in_the_place_of_our_comment_and_leaves_a_strangers_alone(github: Forge) -> None:
    github.answers["/repos/o/r/issues/7/comments"].append({"id": 51, "user": {"login": BOT}, "body": f"{MARK}\nold"})
    act(github)
    assert github.sent[0][:2] == ("PATCH", "/repos/o/r/issues/comments/51")


def test_the_token_goes_to_no_other_host(github: Forge) -> None:
    act(github)
    elsewhere: Forge = github.elsewhere  # type: ignore[attr-defined]
    assert [token for _, _, token in elsewhere.asked] == [None]
    assert {token for _, _, token in github.asked} == {"Bearer secret"}


def test_a_branch_named_like_a_query_asks_for_nothing_else(github: Forge) -> None:
    act(github)
    query = next(query for path, query, _ in github.asked if path == "/repos/o/r/pulls")
    assert query["head"] == ["fork:a&b=c"]


@pytest.mark.parametrize(
    "changed",
    [
        {"head_sha": OTHER},  # pushed to since
        {"head_repository": {"full_name": "another/r", "owner": {"login": "another"}}},
        {"head_repository": None},  # the fork is gone
        {"path": ".github/workflows/mine.yml"},  # the gate's name, another file
        {"event": "push"},
        {"conclusion": "action_required"},  # of a first-time contributor's: nothing was judged
    ],
)
def test_a_run_that_is_not_of_this_head_by_the_gate_says_nothing(github: Forge, changed: dict[str, Any]) -> None:
    act(github, event(**changed))
    assert github.sent == []


def pushes_while_listed(forge: Forge, where: str, files: list[Any], push: Callable[[], None]) -> None:
    def answer(query: Any) -> list[Any]:
        push()
        return files

    forge.answers[where] = answer


def test_a_push_while_the_files_are_listed_gives_the_judged_commit_nothing(github: Forge) -> None:
    """The files are then the new head's: a change of data in the place of a program, for one."""

    def push() -> None:
        github.answers["/repos/o/r/pulls/7"]["head"]["sha"] = OTHER

    pushes_while_listed(github, "/repos/o/r/pulls/7/files", [{"filename": "docs/x.md"}], push)
    assert act(github) == "#7 was pushed to meanwhile"
    assert github.sent == []


@pytest.mark.parametrize(
    "file",
    [
        {"filename": ".github/workflows/gate.yml"},
        {"filename": "x.yml", "previous_filename": ".github/workflows/gate-comment.yml"},
        {"filename": "docs/CODEOWNERS"},
    ],
)
def test_a_change_that_edits_the_pipeline_cannot_judge_itself(github: Forge, file: dict[str, str]) -> None:
    github.answers["/repos/o/r/pulls/7/files"].append(file)
    act(github)
    assert github.sent[-1][2]["state"] == "failure"
    assert "edits its own pipeline" in github.sent[0][2]["body"]


@pytest.mark.parametrize(
    "jobs",
    [
        ended("failure", "skipped"),
        ended("timed_out", "skipped"),
        ended("success", "success", ("judge", "failure")),  # a job that passes for another
        ended("success", "success", ("mine", "success")),
        {"jobs": []},
    ],
)
def test_a_report_that_says_pass_does_not_outweigh_a_run_that_failed(github: Forge, jobs: dict[str, Any]) -> None:
    github.answers["/repos/o/r/actions/runs/1/jobs"] = jobs
    state, words, _ = acted(github)
    assert (state, words) == ("failure", "blocked")


PROGRAM = {"filename": "components/gateway/app.py"}


def test_a_program_needs_an_owner_though_the_run_says_that_it_does_not(github: Forge) -> None:
    github.answers["/repos/o/r/pulls/7/files"].append({"filename": "docs/x.md", "previous_filename": "infra/x.py"})
    state, words, body = acted(github)
    assert (state, words) == ("success", "may pass once a code owner approves")
    assert "no judge can vouch for a program. 1 file:" in body
    assert "> - `infra/x.py`" in body


def test_a_program_behind_a_page_shorter_than_asked_for_needs_an_owner_too(github: Forge) -> None:
    """A forge decides how many items a page has; its link says whether there is another page."""
    pages = {"1": Part([{"filename": f"docs/{number}.md"} for number in range(30)]), "2": [PROGRAM]}
    github.answers["/repos/o/r/pulls/7/files"] = lambda query: pages[query["page"][0]]
    _, words, body = acted(github)
    assert words == "may pass once a code owner approves"
    assert f"> - `{PROGRAM['filename']}`" in body


def test_a_list_whose_links_never_end_gives_no_status(github: Forge) -> None:
    github.answers["/repos/o/r/pulls/7/files"] = Part([{"filename": "docs/x.md"}])
    with pytest.raises(MoreThanListed):
        act(github)
    assert github.sent == []


def test_a_run_that_asks_for_an_owner_gets_one_though_only_data_changed(github: Forge) -> None:
    github.answers["/repos/o/r/actions/runs/1/jobs"] = ended("success", "failure")
    state, words, body = acted(github)
    assert state == "failure"
    asked = "add owners for stacks/Pulumi.dev.yaml to CODEOWNERS first, or leave out what asks for one"
    assert words == f"needs an owner: {asked}"
    github.sent.clear()
    github.answers["/repos/o/r/pulls/7/files"].append({"filename": "stacks/Pulumi.aws-prod.yaml"})
    state, words, body = acted(github)
    assert (state, words) == ("success", "may pass once a code owner approves")
    assert "the data asks for what no rule can vouch for. 2 files:" in body


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"rules/branches/main": rules(require_code_owner_review=False)}, "Require review from Code Owners"),
        ({"rules/branches/main": rules(dismiss_stale_reviews_on_push=False)}, "Dismiss stale pull request approvals"),
        (
            {"rules/branches/main": rules(require_last_push_approval=False)},
            "approval of the most recent reviewable push",
        ),
        ({"rules/branches/main": rules(required_approving_review_count=0)}, "at least 1 approval"),
        ({"rules/branches/main": []}, "Require review from Code Owners"),
        ({"rules/branches/main": None}, "the rules of main cannot be read"),
        ({"codeowners/errors": None}, "main has no CODEOWNERS"),
        ({"codeowners/errors": {"errors": [{"line": 1}]}}, "CODEOWNERS has lines that GitHub passes over"),
    ],
)
def test_where_nothing_asks_for_an_owner_the_status_fails_and_says_what_to_turn_on(
    github: Forge, answers: dict[str, Any], words: str
) -> None:
    github.answers["/repos/o/r/pulls/7/files"].append(PROGRAM)
    github.answers |= {f"/repos/o/r/{path}": answer for path, answer in answers.items()}
    state, words_of_status, body = acted(github)
    assert state == "failure"
    assert words_of_status.startswith("needs an owner: ")
    assert words in words_of_status
    assert words in body


def test_a_change_without_a_program_needs_no_rule_about_owners(github: Forge) -> None:
    github.answers["/repos/o/r/rules/branches/main"] = rules(require_code_owner_review=False)
    assert acted(github)[:2] == ("success", "may pass")


def test_a_branch_that_need_not_be_up_to_date_is_told_so(github: Forge) -> None:
    assert "up to date" not in acted(github)[2]
    github.sent.clear()
    github.answers["/repos/o/r/rules/branches/main"] = rules()[:2]
    assert "No ruleset of main asks for branches to be up to date before merging" in acted(github)[2]


def test_a_codeowners_that_is_not_utf_8_is_told_and_the_status_is_set_all_the_same(
    github: Forge, tmp_path: Path
) -> None:
    (tmp_path / "CODEOWNERS").write_bytes(b"* @anna # \xe9\n")
    api = Api(github.url, {"Authorization": "Bearer secret"})
    github.answers["/repos/o/r/pulls/7/files"].append(PROGRAM)
    comment(api, "o/r", event(), in_force(tmp_path))
    assert github.sent[-1][2]["description"] == "needs an owner: CODEOWNERS is not UTF-8; write it anew as that"


@pytest.mark.parametrize("left", [[], [{"name": "ebbtide-gate", "id": 3, "expired": True}]])
def test_a_green_run_without_a_report_does_not_pass(github: Forge, left: list[Any]) -> None:
    github.answers["/repos/o/r/actions/runs/1/artifacts"] = {"artifacts": left}
    act(github)
    assert "Not judged" in github.sent[0][2]["body"]
    assert github.sent[-1][2]["state"] == "failure"


# GitLab


@pytest.fixture
def gitlab(make_forge: Callable[[], Forge]) -> Forge:
    forge = make_forge()
    pipeline = {"id": 9, "project_id": 77, "sha": SHA}
    job = {"id": 4, "name": "gate", "status": "failed", "web_url": RUN.page, "artifacts_file": {"size": 500}}
    owner = {"id": 5, "name": "owner", "status": "skipped"}
    forge.answers = {
        "/projects/5/merge_requests/3": {"iid": 3, "sha": SHA, "head_pipeline": pipeline},
        "/projects/77/pipelines/9/jobs": [{"id": 1, "name": "lint"}, owner, job],
        "/projects/77/jobs/4/artifacts": archive(report__prod_md="## ⛔ prod: blocked"),
        "/projects/5/merge_requests/3/diffs": [{"old_path": "a", "new_path": "a"}],
        "/projects/5/merge_requests/3/notes": [{"id": 1, "author": {"id": 1}, "body": MARK}],
    }
    return forge


def swept(forge: Forge) -> str:
    api = Api(forge.url, {"PRIVATE-TOKEN": "secret"})
    return comment_gitlab.comment(api, "5", 3, me=2, missing=comment_gitlab._missing(api, "5", "main"))


def test_a_judged_merge_request_of_a_fork_gets_one_comment_which_is_kept_up_to_date(gitlab: Forge) -> None:
    assert swept(gitlab) == "commented"
    note = gitlab.sent[0][2]["body"]
    assert "⛔ prod: blocked" in note
    gitlab.answers["/projects/5/merge_requests/3/notes"].append({"id": 2, "author": {"id": 2}, "body": note})
    assert swept(gitlab) == "nothing new"
    gitlab.answers["/projects/77/jobs/4/artifacts"] = archive(report__prod_md="## ⛔ prod: blocked still")
    assert swept(gitlab) == "comment updated"
    assert gitlab.sent[-1][:2] == ("PUT", "/projects/5/merge_requests/3/notes/2")


def test_a_merge_request_pushed_to_since_its_pipeline_gets_no_stale_comment(gitlab: Forge) -> None:
    gitlab.answers["/projects/5/merge_requests/3"]["sha"] = OTHER
    assert swept(gitlab) == "its head has no pipeline yet"
    assert gitlab.sent == []


def test_on_gitlab_a_push_while_the_files_are_listed_gets_no_note(gitlab: Forge) -> None:
    def push() -> None:
        gitlab.answers["/projects/5/merge_requests/3"]["sha"] = OTHER

    pushes_while_listed(gitlab, "/projects/5/merge_requests/3/diffs", [{"old_path": "a", "new_path": "a"}], push)
    assert swept(gitlab) == "it was pushed to meanwhile"
    assert gitlab.sent == []


def test_a_merge_request_that_edits_the_pipeline_is_marked(gitlab: Forge) -> None:
    gitlab.answers["/projects/5/merge_requests/3/diffs"] = [{"old_path": ".gitlab-ci.yml", "new_path": "b"}]
    swept(gitlab)
    assert "edits its own pipeline" in gitlab.sent[0][2]["body"]


def test_on_gitlab_a_change_of_more_files_than_are_listed_does_not_pass_for_a_small_one(gitlab: Forge) -> None:
    passed(gitlab, "success")
    gitlab.answers["/projects/5/merge_requests/3/diffs"] = [{"old_path": "a.md", "new_path": "a.md"}] * 100
    swept(gitlab)
    assert "edits its own pipeline** (`more files than are listed`)" in gitlab.sent[0][2]["body"]


def passed(forge: Forge, owner: str) -> None:
    jobs = forge.answers["/projects/77/pipelines/9/jobs"]
    jobs[1]["status"], jobs[2]["status"] = owner, "success"
    forge.answers["/projects/5/merge_requests/3/diffs"] = [{"old_path": "waivers.yaml", "new_path": "waivers.yaml"}]
    forge.answers["/projects/77/jobs/4/artifacts"] = archive(report__prod_md="## ✅ prod")


def test_on_gitlab_the_second_jobs_end_or_the_files_say_that_an_owner_is_needed(gitlab: Forge) -> None:
    passed(gitlab, "success")
    swept(gitlab)
    assert "code owner" not in gitlab.sent[-1][2]["body"]
    passed(gitlab, "failed")
    swept(gitlab)
    assert "the data asks for what no rule can vouch for" in gitlab.sent[-1][2]["body"]
    passed(gitlab, "success")
    gitlab.answers["/projects/5/merge_requests/3/diffs"] = [{"old_path": "infra/x.py", "new_path": "docs/x.py"}]
    swept(gitlab)
    assert "> - `infra/x.py`" in gitlab.sent[-1][2]["body"]


def test_on_gitlab_a_pipeline_whose_second_job_has_not_ended_is_not_judged_yet(gitlab: Forge) -> None:
    passed(gitlab, "running")
    assert swept(gitlab) == "its head is not judged yet"


NAMED = {"rule_type": "regular", "approvals_required": 1, "protected_branches": []}


@pytest.mark.parametrize(
    ("protected", "approval", "asked"),
    [
        (True, [], True),
        (False, [NAMED], True),
        (False, [{**NAMED, "protected_branches": [{"name": "main"}]}], True),
        (False, [{**NAMED, "protected_branches": [{"name": "other"}]}], False),
        (False, [{**NAMED, "approvals_required": 0}], False),
        (False, [{**NAMED, "rule_type": "any_approver"}], False),  # the author's friend would do
        (False, None, False),  # a tier without approval rules
        (None, None, False),
    ],
)
def test_on_gitlab_the_note_says_whether_anything_asks_for_an_owner(
    gitlab: Forge, protected: bool | None, approval: list[Any] | None, asked: bool
) -> None:
    passed(gitlab, "failed")
    branch = None if protected is None else {"name": "main", "code_owner_approval_required": protected}
    gitlab.answers["/projects/5/protected_branches/main"] = branch
    gitlab.answers["/projects/5/approval_rules"] = approval
    swept(gitlab)
    assert ("Nothing asks for that approval yet" in gitlab.sent[-1][2]["body"]) != asked
