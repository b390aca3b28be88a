"""Secrets in any file of a change are told by line and kind, and nothing else is. All secrets here are made up."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest

from infra.gate.secret_scan import FoundSecret, _random_values, new_secrets, secrets_in
from infra.redaction import redact

PROJECT = Path(__file__).parents[2]
# Put together here, so that no scanner of this repository takes one for a real secret.
BODY = "Zq7kT3vXb9" * 5
RANDOM = base64.b64encode(bytes(range(7, 250, 5))).decode().rstrip("=")
LEAKS = {
    "Hugging Face token": "token = '" + "hf" + "_" + BODY + "'",
    "AWS access key": "aws_access_key_id = " + "AK" + "IA" + "Q7ZP" * 4,
    "GitHub token": "url: https://x:" + "gh" + "p_" + BODY[:36] + "@github.com/a/b",
    "GitHub token, fine-grained": "# " + "github" + "_pat_" + BODY,
    "GitLab token": "PRIVATE-TOKEN: " + "gl" + "pat-" + BODY[:20],
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + RANDOM + "\n-----END RSA PRIVATE KEY-----",
    "private key, EC": "  -----BEGIN EC " + "PRIVATE KEY-----",
    "private key, OpenSSH": "-----BEGIN OPENSSH " + "PRIVATE KEY-----",
    "private key of a service account": '"private_key": "-----BEGIN ' + "PRIVATE KEY-----\\n" + RANDOM + '\\n"',
    "Azure storage key": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + RANDOM * 2 + "==",
    "Azure client secret": "client: " + "abc" + "8Q~" + BODY[:34],
    "Google API key": "key=" + "AI" + "za" + BODY[:35],
    "Slack token": "xox" + "b-" + "123456789012-" + "1234567890123-" + BODY[:24],
    "Slack webhook": "https://hooks.slack" + ".com/services/" + "T0A1B2C3D/B0A1B2C3D/" + BODY[:24],
    "password in an address": "postgres://admin:" + "Tr0ub4dor" + "@db.internal:5432/app",
    "a dollar in a password": "amqp://svc:" + "pa$$w0rd9" + "@queue/",
    "bearer token": 'curl -H "Authorization: Bearer ' + BODY[:30] + '"',
    "JSON web token": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0" + "." + BODY,
    "OpenAI": 'OPENAI_API_KEY="' + "sk" + "-proj-" + BODY + '"',
    "npm": "//packages.internal/:_authToken=" + "npm" + "_" + BODY[:36],
    "Stripe": "sk" + "_live_" + BODY[:24],
    "SendGrid": "SG" + "." + BODY[:22] + "." + BODY[:43],
    "random under secret": "client_secret: '" + RANDOM[:40] + "'",
    "random under password": "DB_PASSWORD=" + BODY[:20],
    "random under api key": 'apiKey = "' + "9f8e7d6c5b4a39281706f5e4d3c2b1a0" + '"',
    "AWS secret key": "aws_secret_access_key = " + (RANDOM * 2)[:40],
}  # fmt: skip
HARMLESS = {
    "a commit": "revision: 0e9e39f249a16976918f6564b8830bc894c89659",
    "a digest": "image: x@sha256:" + "0a1b2c3d" * 8,
    "the hash of a key": "sha256: " + "0a1b2c3d" * 8,
    "a digest under a key's name": 'token_sha = "' + "0a1b2c3d" * 8 + '"',
    "an example": "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "a placeholder": "token: <your-token-from-hugging-face>",
    "a variable": "password: ${DB_PASSWORD_OF_PRODUCTION}",
    "a template": "api_key: {{ secrets.OPENAI_API_KEY_4_PROD }}",
    "a variable in an address": "https://user:$TOKEN@host/",
    "a call": "token = secrets.token_urlsafe(32)",
    "a name of a secret": "hubToken: hugging-face",
    "a path": "credentials: /var/run/secrets/kubernetes.io/serviceaccount",
    "a sentence": "The password is kept in the cluster's Secret and in no file.",
    "a certificate": "-----BEGIN CERTIFICATE-----",
    "a public key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHx0 anna",
    "words after sk-": "sk-this-is-not-a-key-at-all",
    "ciphertext of Pulumi": "  secure: v1:AbCdEfGhIjKlMnOp:" + RANDOM,
    "ciphertext of a KMS": '  {"secure": "AQICAHh' + RANDOM * 3 + '"}',
    "a switch": "secure: true",
}


@pytest.mark.parametrize("kind", LEAKS)
@pytest.mark.parametrize("path", ["docs/notes.md", "tests/fixtures/x.env", "stacks/Pulumi.x.yaml", "images/x/run.sh"])
def test_what_people_leak_is_found_in_any_file(kind: str, path: str) -> None:
    secrets = secrets_in(path, f"first line\nsecond\n{LEAKS[kind]}\nlast\n")
    assert {each.line for each in secrets} == {3}
    assert all(BODY[:16] not in str(each) and RANDOM[:16] not in str(each) for each in secrets)


@pytest.mark.parametrize("kind", HARMLESS)
@pytest.mark.parametrize("path", ["docs/notes.md", "stacks/Pulumi.x.yaml", "infra/x.py"])
def test_what_only_resembles_a_secret_is_not(kind: str, path: str) -> None:
    assert secrets_in(path, f"{HARMLESS[kind]}\n") == []


@pytest.mark.parametrize(
    "line",
    [
        "secure: hunter2hunter2",
        '"secure": "my pass word"',
        "x: {secure: v1:only}",
        "- secure: 'c29tZQ=='",
        "secure: v2:a:b",
    ],
)
def test_a_plain_text_under_secure_is_no_ciphertext(line: str) -> None:
    (secret,) = secrets_in("stacks/Pulumi.x.yaml", f"config:\n  {line}\n")
    assert (secret.line, secret.kind) == (2, "value under secure: that is not encrypted")
    assert secrets_in("docs/x.md", line) == []


def test_a_lock_file_is_read_for_tokens_alone() -> None:
    lock = "token-package==1.0 \\\n    --hash=sha256:" + "0a1b2c3d" * 8 + f"\nsecret = '{BODY[:20]}'\n"
    assert secrets_in("locks/dev.txt", lock) == []
    assert [each.line for each in secrets_in("locks/dev.txt", lock + LEAKS["Hugging Face token"])] == [4]


def test_a_secret_in_the_name_of_a_file_is_told_without_it() -> None:
    name = "docs/" + "hf" + "_" + BODY + ".md"
    (secret,) = secrets_in(name, "nothing\n")
    assert secret == FoundSecret(name, 0, "Hugging Face token")
    assert BODY not in str(secret)


def test_a_secret_deep_in_a_long_line_is_found() -> None:
    text = '{"a": "' + "x " * 30_000 + LEAKS["random under secret"] + " y" * 30_000 + '"}'
    assert [each.line for each in secrets_in("data/x.json", text)] == [1]


def test_every_secret_of_a_file_is_told_at_once() -> None:
    text = "\n".join(LEAKS.values())
    lines = {each.line for each in secrets_in("x.txt", text)}
    begins = [text[: text.index(leak)].count("\n") + 1 for leak in LEAKS.values()]
    assert set(begins) <= lines


HOSTILE = {
    "hexadecimal digits": "0a1b2c3d4e5f6789",
    "letters": "ab",
    "spaces": " ",
    "beginnings of JSON web tokens": "eyJaaaa" + "-",
    "first parts of JSON web tokens": "eyJaaaaaaaaaa" + "-",
    "beginnings of addresses": "://a" + ":b",
    "placeholders in a password": "://a" + ":<",
    "beginnings of private keys": "-----BEGIN " + "PRIVATE KEY-----",
    "names for secrets": "secret" + "=",
    "names and quotes": "secret='aaaa",
    "bearers": "bearer ",
}


def growth(of: Callable[[str], object], unit: str, size: int) -> float:
    """How many times longer four times the text takes: 4 where every letter costs the same, 16 for the square."""

    def seconds(size: int) -> float:
        text = unit * (size // len(unit)) + '"'
        begun = process_time()
        of(text)
        return process_time() - begun

    return min(seconds(size * 4) for _ in range(3)) / min(seconds(size) for _ in range(3))


@pytest.mark.parametrize("kind", HOSTILE)
def test_redaction_and_scan_take_the_same_time_for_every_letter(kind: str) -> None:
    assert growth(redact, HOSTILE[kind], 30_000) < 9
    assert growth(lambda line: list(_random_values(line)), HOSTILE[kind], 30_000) < 9
    assert growth(lambda text: secrets_in("x.json", text), HOSTILE[kind], 20_000) < 9


@pytest.mark.parametrize("value", ['"%s"', "'%s'  # note", "%s", "%s  # note", "%s#note (old)"])
def test_a_random_text_is_found_behind_a_name_of_any_length(value: str) -> None:
    line = "x" * 5000 + "_client_secret_v2 = " + value % RANDOM[:40]
    (name,) = _random_values(line)
    assert name == "x" * 23 + "_client_secret_v2"
    assert list(_random_values(f"secret=x.token={RANDOM[:40]} and more")) == []


def test_a_token_within_a_word_is_redacted_as_whole_as_one_that_begins_it() -> None:
    for kind in ("AWS access key", "GitHub token", "GitLab token"):
        token = LEAKS[kind].rpartition(" ")[2].removeprefix("https:" + "//x:").partition("@")[0]
        assert redact(f"x{token} y") == "x<redacted> y"
    assert redact("x" + "AS" + "IA" + "Q7ZP" * 4) == "x<redacted>"


def test_names_with_a_dash_are_names_too() -> None:
    assert list(_random_values(f"client-secret-key: {RANDOM[:40]}")) == ["client-secret-key"]


def test_a_file_too_large_to_be_read_is_one_finding_of_the_change_that_brings_it(tmp_path: Path) -> None:
    for side in ("base", "head"):
        (tmp_path / side).mkdir()
    base, head = tmp_path / "base", tmp_path / "head"
    (head / "x.bin").write_text(LEAKS["OpenAI"] + "\n" + "x" * (2 << 20))
    (secret,) = new_secrets(base, head, ["x.bin"])
    assert str(secret) == (
        "x.bin: too large to be read for secrets; allowed: files up to 2 MiB; fix: keep it out of the repository"
    )
    (base / "x.bin").write_bytes((head / "x.bin").read_bytes())
    assert list(new_secrets(base, head, ["x.bin"])) == []
    (base / "x.bin").write_bytes((head / "x.bin").read_bytes()[1:])
    assert list(new_secrets(base, head, ["x.bin"])) == [secret]
    (head / "x.bin").unlink()
    assert list(new_secrets(base, head, ["x.bin"])) == []


@pytest.mark.slow
def test_the_repositorys_own_files_hold_no_secret() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True)
    secrets = []
    for name in filter(None, done.stdout.split("\0")):
        content = (PROJECT / name).read_bytes() if (PROJECT / name).is_file() else b""
        secrets += secrets_in(name, content.decode(errors="replace"))
    assert secrets == []
