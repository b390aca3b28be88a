"""The real nginx as a proxy before the gateway, with the idle limit that a test wants."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.gateway_kit import free_port, listens, until

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
{user}
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {target};
            proxy_http_version 1.1;
            proxy_read_timeout {idle_seconds}s;
        }}
    }}
}}
"""


def program() -> str:
    """Where it is; the test is skipped where it is not, or fails where EBBTIDE_PROXY_TESTS is set."""
    program_found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program_found is None:
        message = "no nginx here: install it (Debian: apt install nginx-light)"
        (pytest.fail if os.environ.get("EBBTIDE_PROXY_TESTS") else pytest.skip)(message)
    return str(program_found)


@contextlib.contextmanager
def before(target: str, idle_seconds: int, folder: Path) -> Iterator[str]:
    """Its address while it passes everything on to ``target``; it cuts what says nothing for ``idle_seconds``."""
    folder.mkdir()
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, user=user, port=port, target=target, idle_seconds=idle_seconds))
    command = [program(), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: listens(port), "nginx listens", 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
