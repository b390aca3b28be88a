"""A real PostgreSQL in a folder of its own, with TLS and a password: Debian's package, run by somebody who is not
root.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.gateway_kit import free_port, until

PASSWORD = "pw-of-the-database"
_INSTALLED = Path("/usr/lib/postgresql")


def programs() -> Path:
    """The folder of its programs; the test is skipped where there is none, or fails where EBBTIDE_DATABASE_TESTS is
    set.
    """
    folders = sorted(_INSTALLED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not folders:
        message = "no PostgreSQL here: install it (Debian: apt install postgresql)"
        (pytest.fail if os.environ.get("EBBTIDE_DATABASE_TESTS") else pytest.skip)(message)
    return folders[-1].parent


@functools.cache
def _owner() -> tuple[int, int] | None:
    """Who runs it: it refuses root."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("postgres")
    return entry.pw_uid, entry.pw_gid


class Postgres:
    """One cluster. ``mounted`` is the folder that a Secret with its URI would be. ``address`` is where it listens,
    ``network`` the network namespace that has it if this process is in another.
    """

    def __init__(self, folder: Path, address: str = "127.0.0.1", network: Path | None = None) -> None:
        self.folder, self.address, self._network = folder, address, network
        self.port = free_port()
        self._programs = programs()
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "password").write_text(PASSWORD)
        self._certificate()
        if owner := _owner():
            for path in (folder, *folder.iterdir()):
                os.chown(path, *owner)
        arguments = ["-D", str(folder / "data"), "-U", "owner", "-A", "scram-sha-256", "--pwfile", "password"]
        self._run("initdb", *arguments, "--no-sync", "--no-instructions", "--locale=C", "-E", "UTF8")
        if network is not None:  # pods come from networks of their own
            with (folder / "data" / "pg_hba.conf").open("a") as file:
                file.write("hostssl all all all scram-sha-256\n")
        self.mounted = folder / "mounted"
        self.mounted.mkdir()
        shutil.copy(folder / "server.crt", self.mounted / "ca.crt")
        (self.mounted / "uri").write_text(f"postgresql://owner:{PASSWORD}@{self.address}:{self.port}/postgres\n")

    def _certificate(self) -> None:
        names = ["-subj", "/CN=database", "-addext", f"subjectAltName=IP:{self.address}"]
        files = ["-keyout", "server.key", "-out", "server.crt"]
        new = ["openssl", "req", "-new", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subprocess.run([*new, "-days", "2", *names, *files], cwd=self.folder, check=True, capture_output=True)
        (self.folder / "server.key").chmod(0o600)

    def _command(self, program: str, *arguments: str) -> list[str]:
        """A command of its package: in its network, as somebody who is not root. The programs before it become it."""
        command = [str(self._programs / program), *arguments]
        if owner := _owner():
            user, group = owner
            command = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *command]
        return command if self._network is None else ["nsenter", f"--net={self._network}", *command]

    def _run(self, program: str, *arguments: str) -> str:
        command = self._command(program, *arguments)
        environment = {"PGPASSWORD": PASSWORD, "PGSSLMODE": "require", "LC_ALL": "C", "PATH": os.environ["PATH"]}
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until it listens."""
        settings = {
            "listen_addresses": self.address,
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            "ssl": "on",
            "ssl_cert_file": str(self.folder / "server.crt"),
            "ssl_key_file": str(self.folder / "server.key"),
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = self._command("postgres", "-D", str(self.folder / "data"), "-p", str(self.port), *words)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT)
        until(self._answers, "PostgreSQL answers", 30)

    def _answers(self) -> bool:
        with contextlib.suppress(AssertionError):
            return self.ask("SELECT 1") == ["1"]
        return False

    def stop(self) -> None:
        """End it as a node that dies would: connections are cut, and nothing that was confirmed is lost."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(20)
            self.process = None

    def ask(self, statement: str, database: str = "postgres") -> list[str]:
        """A statement's rows, the columns between bars."""
        address = ["-h", self.address, "-p", str(self.port), "-U", "owner", "-d", database]
        return self._run("psql", *address, "-X", "-A", "-t", "-q", "-c", statement).splitlines()


@contextlib.contextmanager
def running(address: str = "127.0.0.1", network: Path | None = None) -> Iterator[Postgres]:
    """It, started; gone after that. Its folder is not pytest's, which only its owner may enter."""
    programs()
    folder = Path(tempfile.mkdtemp(prefix="ebbtide-postgres-"))
    try:
        cluster = Postgres(folder, address, network)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
