"""Pulumi's release is taken whole, with its published sum, or not at all. A transport stands in for the network."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab.toolchain import go_programs, pulumi_release
from lab.toolchain.pulumi_release import CHECKSUMS, RELEASES, archive_name, ensure, sum_of

NAME = "pulumi-v3.274.1-linux-x64.tar.gz"


def quiet(line: str) -> None:
    """Progress that nobody reads."""


def release(program: str = "pulumi/pulumi") -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in (program, "pulumi/pulumi-language-python"):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = 4, 0o755
            tar.addfile(entry, io.BytesIO(b"true"))
    return archive.getvalue()


class Broken(httpx.SyncByteStream):
    """A body whose connection goes after its first half."""

    def __init__(self, half: bytes) -> None:
        self.half = half

    def __iter__(self) -> Iterator[bytes]:
        yield self.half
        raise httpx.ReadError("reset by peer")


class Site:
    """get.pulumi.com and GitHub as far as they are asked."""

    def __init__(self, body: bytes, published: str | None = None, lists: tuple[int, ...] = (200, 200)) -> None:
        self.body, self.lists, self.breaks = body, lists, 0
        self.published = published or hashlib.sha256(body).hexdigest()
        self.asked: list[tuple[str, str | None]] = []

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        url, begin = str(request.url), request.headers.get("range")
        self.asked.append((url, begin))
        if url in CHECKSUMS:
            text = f"{'0' * 64}  pulumi-v3.274.1-darwin-x64.tar.gz\n{self.published}  {NAME}\n"
            return httpx.Response(self.lists[CHECKSUMS.index(url)], text=text)
        assert url == f"{RELEASES}/{NAME}"
        have = int(begin.removeprefix("bytes=").removesuffix("-")) if begin else 0
        rest = self.body[have:]
        if not rest:
            return httpx.Response(416)
        status, size = (206 if begin else 200), {"content-length": str(len(rest))}
        if self.breaks:
            self.breaks -= 1
            return httpx.Response(status, headers=size, stream=Broken(rest[: len(rest) // 2]))
        return httpx.Response(status, headers=size, content=rest)


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(pulumi_release, "archive_name", lambda: NAME)
    return Paths(tmp_path / "cache", tmp_path / "state")


def fails(run: Callable[[], object]) -> str:
    with pytest.raises(LocalProblem) as refused:
        run()
    return str(refused.value)


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("linux", "x86_64", NAME),
        ("linux", "aarch64", "pulumi-v3.274.1-linux-arm64.tar.gz"),
        ("darwin", "arm64", "pulumi-v3.274.1-darwin-arm64.tar.gz"),
        ("darwin", "x86_64", "pulumi-v3.274.1-darwin-x64.tar.gz"),
        ("linux", "riscv64", None),
        ("win32", "AMD64", None),
    ],
)
def test_each_system_and_machine_gets_its_own_archive(system: str, machine: str, name: str | None) -> None:
    assert archive_name(system, machine) == name


def test_the_release_is_of_the_version_that_is_built_elsewhere() -> None:
    assert f"Version=v{pulumi_release.VERSION}" in go_programs.PULUMI.ldflags


def test_a_sum_is_read_only_from_its_own_files_line() -> None:
    listed = f"{'a' * 64}  {NAME}.sig\n{'B' * 64} *{NAME}\nshort  {NAME}\n"
    assert sum_of(listed, NAME) == "b" * 64
    assert sum_of(listed, "other.tar.gz") is None


@pytest.mark.parametrize("program", ["pulumi/pulumi", "pulumi/bin/pulumi"])
def test_the_release_is_unpacked_and_never_fetched_twice(program: str, at: Paths) -> None:
    site = Site(release(program))
    folder = ensure(at, quiet, site.client())
    assert folder == at.cache / "pulumi-3.274.1" / program
    assert folder.stat().st_mode & 0o111
    asked = len(site.asked)
    assert ensure(at, quiet, site.client()) == folder
    assert len(site.asked) == asked
    assert not list((at.cache / "downloads").iterdir())


def test_a_broken_download_goes_on_where_it_broke(at: Paths) -> None:
    site = Site(release())
    site.breaks = 2
    assert ensure(at, quiet, site.client()).is_file()
    begun = [begin for url, begin in site.asked if url.endswith(NAME)]
    half = len(site.body) // 2
    assert begun == [None, f"bytes={half}-", f"bytes={half + (len(site.body) - half) // 2}-"]


def test_a_killed_download_goes_on_in_the_next_run(at: Paths) -> None:
    site = Site(release())
    (at.cache / "downloads").mkdir(parents=True)
    (at.cache / "downloads" / f"{NAME}.partial").write_bytes(site.body[:100])
    ensure(at, quiet, site.client())
    assert site.asked[-1][1] == "bytes=100-"


def test_a_download_that_was_whole_when_killed_is_not_asked_for_again_and_again(at: Paths) -> None:
    site = Site(release())
    (at.cache / "downloads").mkdir(parents=True)
    (at.cache / "downloads" / f"{NAME}.partial").write_bytes(site.body)
    assert ensure(at, quiet, site.client()).is_file()


def test_another_sum_than_the_published_one_is_refused_and_the_download_deleted(at: Paths) -> None:
    site = Site(release(), published="c" * 64)
    digest = hashlib.sha256(site.body).hexdigest()
    assert fails(lambda: ensure(at, quiet, site.client())) == (
        f"{RELEASES}/{NAME} has the SHA-256 {digest}, published is {'c' * 64}; the download is deleted\n"
        "  fix: run `make local` again; if it happens twice, do not trust the network between"
    )
    assert not pulumi_release.is_installed(at)
    assert not list((at.cache / "downloads").iterdir())


def test_the_second_list_of_sums_serves_where_the_first_is_missing(at: Paths) -> None:
    assert ensure(at, quiet, Site(release(), lists=(404, 200)).client()).is_file()


def test_nothing_is_downloaded_without_a_sum_to_check_it_by(at: Paths) -> None:
    site = Site(release(), lists=(404, 503))
    assert fails(lambda: ensure(at, quiet, site.client())) == (
        f"no published SHA-256 of {NAME} ({CHECKSUMS[0]}: 404; {CHECKSUMS[1]}: 503), and it is not used without one\n"
        "  fix: run `make local` again when one of these can be reached"
    )
    assert not any(url.endswith(NAME) for url, _ in site.asked)


def test_a_half_unpacked_release_is_not_taken_for_one(at: Paths) -> None:
    (at.cache / "pulumi-3.274.1" / "pulumi").mkdir(parents=True)
    (at.cache / "pulumi-3.274.1" / "pulumi" / "pulumi").touch()
    assert not pulumi_release.is_installed(at)
    site = Site(release())
    assert ensure(at, quiet, site.client()).read_bytes() == b"true"
