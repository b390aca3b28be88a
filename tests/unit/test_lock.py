"""``ebbtide lock``: digests come from the registry, go to every place that names the image, and nowhere else."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import httpx
import pytest

from components.catalog.versions import versions
from infra.lock.command import DONE, NOT_ALL, USAGE, Options, run
from infra.lock.pins import image_name, pins
from infra.lock.registry import NotRead, digest_of

PROJECT = Path(__file__).resolve().parents[2]
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = b'{"schemaVersion": 2, "manifests": []}'
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
PYTHON, VLLM = "docker.io/library/python:3.11-slim-bookworm", "docker.io/vllm/vllm-openai:v0.32.0"
POSTGRES = "docker.io/library/postgres:18.4-bookworm"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's own files, with no digest in them."""
    for folder in ("images/gateway", "images/mirror", "images/vllm", "components/catalog"):
        (tmp_path / folder).mkdir(parents=True)
    for file in (*PROJECT.glob("images/*/Dockerfile*"), PROJECT / "components/catalog/versions.yaml"):
        shutil.copy(file, tmp_path / file.relative_to(PROJECT))
    for pin in pins(tmp_path):
        if pin.image.digest:
            text = pin.file.read_text().replace(f"@{pin.image.digest}", "")
            pin.file.write_text(text.replace(f"digest: {pin.image.digest}", "digest: null"))
    return tmp_path


class Registry:
    """Docker Hub as its API answers: a token first, then the manifest."""

    def __init__(self, manifest: bytes = MANIFEST, kind: str = INDEX, **headers: str) -> None:
        self.manifest, self.kind = manifest, kind
        self.headers = headers
        self.asked: list[str] = []
        self.missing: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "auth.docker.io":
            assert dict(request.url.params) == {
                "service": "registry.docker.io",
                "scope": f"repository:{request.url.params['scope'].split(':')[1]}:pull",
            }
            assert "authorization" not in request.headers
            return httpx.Response(200, json={"token": "t0ken"})
        assert request.url.host == "registry-1.docker.io"
        if "authorization" not in request.headers:
            repository = request.url.path.removeprefix("/v2/").partition("/manifests/")[0]
            scope = f'service="registry.docker.io",scope="repository:{repository}:pull"'
            header = f'Bearer realm="https://auth.docker.io/token",{scope}'
            return httpx.Response(401, headers={"www-authenticate": header})
        assert request.headers["authorization"] == "Bearer t0ken"
        self.asked.append(request.url.path)
        if request.url.path in self.missing:
            return httpx.Response(404)
        return httpx.Response(200, content=self.manifest, headers={"content-type": self.kind, **self.headers})

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self))


def test_a_tags_digest_is_read_without_an_account_and_hashed_here() -> None:
    assert digest_of(image_name(VLLM), Registry().client()) == DIGEST
    registry = Registry(**{"docker-content-digest": DIGEST})
    assert digest_of(image_name(VLLM), registry.client()) == DIGEST


@pytest.mark.parametrize(
    ("registry", "says"),
    [
        (Registry(**{"docker-content-digest": "sha256:" + "0" * 64}), "its answer is sha256:"),
        (Registry(kind="text/html"), "no image manifest"),
        (Registry(manifest=b"x" * (4 * 1024 * 1024 + 1)), "no image manifest"),
    ],
    ids=["another digest", "a page", "far too long"],
)
def test_an_answer_that_is_none_is_not_believed(registry: Registry, says: str) -> None:
    with pytest.raises(NotRead, match=says):
        digest_of(image_name(VLLM), registry.client())


@pytest.mark.parametrize(
    ("status", "header", "says"),
    [
        (401, 'Basic realm="https://x"', "wants an account"),
        (401, 'Bearer realm="http://auth.example.com/token"', "wants an account"),
        (403, "", "answers 403: it wants an account"),
        (404, "", "answers 404: it has no such tag"),
        (429, "", "answers 429: too many questions"),
        (500, "", "answers 500"),
    ],
)
def test_a_refusal_says_what_it_means_and_no_token_goes_over_plain_http(status: int, header: str, says: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={"www-authenticate": header} if header else {})

    with pytest.raises(NotRead, match=says):
        digest_of(image_name(VLLM), httpx.Client(transport=httpx.MockTransport(answer)))


def test_every_place_gets_the_digest_and_nothing_else_changes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {pin.file: pin.file.read_text() for pin in pins(project)}
    registry = Registry()
    assert run(Options(), project, registry.client()) == DONE
    assert len(registry.asked) == 3, "each image once"
    assert {str(pin.image) for pin in pins(project)} == {f"{each}@{DIGEST}" for each in (PYTHON, VLLM, POSTGRES)}
    for file, text in before.items():
        gone = file.read_text().replace(f"@{DIGEST}", "").replace(f"digest: {DIGEST}", "digest: null")
        assert gone == text
    assert versions(project / "components/catalog/versions.yaml")["vllm"].reference == f"{VLLM}@{DIGEST}"
    assert f"images/gateway/Dockerfile:5: {PYTHON} is {DIGEST}" in capsys.readouterr().out
    assert not list(project.rglob("*.new"))


def test_what_has_a_digest_is_asked_for_again_only_where_that_is_wanted(project: Path) -> None:
    assert run(Options(), project, Registry().client()) == DONE
    quiet = Registry()
    assert run(Options(), project, quiet.client()) == DONE
    assert quiet.asked == []
    moved = Registry(manifest=b'{"schemaVersion": 2}')
    assert run(Options(update=True), project, moved.client()) == DONE
    assert len(moved.asked) == 3
    assert {pin.image.digest for pin in pins(project)} == {"sha256:" + hashlib.sha256(moved.manifest).hexdigest()}


def test_one_image_that_cannot_be_read_leaves_its_places_and_no_other(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry()
    registry.missing = {"/v2/vllm/vllm-openai/manifests/v0.32.0"}
    assert run(Options(), project, registry.client()) == NOT_ALL
    assert {pin.image.tagged for pin in pins(project) if pin.image.digest} == {PYTHON, POSTGRES}
    errors = capsys.readouterr().err
    assert f"images/vllm/Dockerfile.cuda:3: {VLLM}: the registry answers 404: it has no such tag; nothing was" in errors
    assert errors.count("error: ") == 2


def test_without_a_network_nothing_is_changed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    before = [pin.file.read_text() for pin in pins(project)]
    assert run(Options(), project, httpx.Client(transport=httpx.MockTransport(away))) == NOT_ALL
    assert [pin.file.read_text() for pin in pins(project)] == before
    assert "registry-1.docker.io cannot be reached (ConnectError)" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named_and_the_others_are_locked(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.lock import command

    write = command.atomic_write

    def refuse(file: Path, text: str) -> None:
        if file.name == "versions.yaml":
            raise PermissionError(13, "Permission denied")
        write(file, text)

    monkeypatch.setattr(command, "atomic_write", refuse)
    assert run(Options(), project, Registry().client()) == NOT_ALL
    assert {pin.file.name for pin in pins(project) if not pin.image.digest} == {"versions.yaml"}
    assert "versions.yaml:7: cannot be written: permission denied; nothing was changed" in capsys.readouterr().err


def test_a_check_asks_nobody_and_says_which_have_none(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Options(check=True), project) == NOT_ALL
    errors = capsys.readouterr().err.splitlines()
    assert f"components/catalog/versions.yaml:7: {VLLM} has no digest; fix: ebbtide lock" in errors
    assert len(errors) == len(pins(project))
    assert run(Options(), project, Registry().client()) == DONE
    assert run(Options(check=True), project) == DONE
    assert run(Options(check=True, update=True), project) == USAGE


@pytest.mark.parametrize("text", ["python:3.11", "docker.io/python", "docker.io/a:b@sha256:12", "docker.io/A:b", ""])
def test_what_is_no_whole_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: host/repository:tag"):
        image_name(text)


def test_a_reference_says_where_its_registry_answers() -> None:
    assert image_name(PYTHON).manifest_url == (
        "https://registry-1.docker.io/v2/library/python/manifests/3.11-slim-bookworm"
    )
    assert image_name("ghcr.io/a/b:1").manifest_url == "https://ghcr.io/v2/a/b/manifests/1"
    assert image_name("127.0.0.1:5000/a:1").manifest_url == "http://127.0.0.1:5000/v2/a/manifests/1"
    assert str(image_name(f"ghcr.io/a/b:1@{DIGEST}")) == f"ghcr.io/a/b:1@{DIGEST}"
