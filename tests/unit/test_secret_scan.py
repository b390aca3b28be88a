"""Secrets in any file of a change are told by line and kind, and nothing else is. All secrets here are made up."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from infra.gate.secret_scan import FoundSecret, secrets_in

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
    "npm": "//registry.npmjs.org/:_authToken=" + "npm" + "_" + BODY[:36],
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
    found = secrets_in(path, f"first line\nsecond\n{LEAKS[kind]}\nlast\n")
    assert {each.line for each in found} == {3}
    assert all(BODY[:16] not in str(each) and RANDOM[:16] not in str(each) for each in found)


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
    (found,) = secrets_in("stacks/Pulumi.x.yaml", f"config:\n  {line}\n")
    assert (found.line, found.kind) == (2, "value under secure: that is not encrypted")
    assert secrets_in("docs/x.md", line) == []


def test_a_lock_file_is_read_for_tokens_alone() -> None:
    lock = "token-package==1.0 \\\n    --hash=sha256:" + "0a1b2c3d" * 8 + f"\nsecret = '{BODY[:20]}'\n"
    assert secrets_in("locks/dev.txt", lock) == []
    assert [each.line for each in secrets_in("locks/dev.txt", lock + LEAKS["Hugging Face token"])] == [4]


def test_a_secret_in_the_name_of_a_file_is_told_without_it() -> None:
    name = "docs/" + "hf" + "_" + BODY + ".md"
    (found,) = secrets_in(name, "nothing\n")
    assert found == FoundSecret(name, 0, "Hugging Face token")
    assert BODY not in str(found)


def test_a_secret_deep_in_a_long_line_is_found() -> None:
    text = '{"a": "' + "x " * 30_000 + LEAKS["random under secret"] + " y" * 30_000 + '"}'
    assert [each.line for each in secrets_in("data/x.json", text)] == [1]


def test_every_secret_of_a_file_is_told_at_once() -> None:
    text = "\n".join(LEAKS.values())
    told = {each.line for each in secrets_in("x.txt", text)}
    begins = [text[: text.index(leak)].count("\n") + 1 for leak in LEAKS.values()]
    assert set(begins) <= told


@pytest.mark.slow
def test_the_repositorys_own_files_hold_no_secret() -> None:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True)
    found = []
    for name in filter(None, done.stdout.split("\0")):
        content = (PROJECT / name).read_bytes() if (PROJECT / name).is_file() else b""
        found += secrets_in(name, content.decode(errors="replace"))
    assert found == []
