"""A secret is found however it is written, by its kind and line, and no output repeats it. All of them are made up."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from infra.gate.secret_scan import FoundSecret, new_secrets, secrets_in
from infra.redaction import redact
from infra.stackfile.load import read_file

# Put together here, so that no scanner of this repository takes one for a real secret.
TOKEN = "hf" + "_" + "Zq7kT3vXb9" * 4
PEM = "-----BEGIN " + "PRIVATE KEY-----\n" + "QUJD" * 12 + "\n-----END " + "PRIVATE KEY-----\n"
GOOD = Path(__file__).parents[1] / "fixtures/stackfile/Pulumi.good.yaml"


def plain64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def url64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


ENCODED: dict[str, Callable[[str], str]] = {
    "base64": plain64,
    "base64 for addresses": url64,
    "base64 of what stands around it": lambda token: plain64(f'{{"auths": {{"r": "{token}"}}}}'),
    "base64 with other letters before it": lambda token: plain64(f"user?>:{token}"),
    "base64 behind a path": lambda token: "data/" + plain64(token),
    "base64 in an address": lambda token: "data:text/plain;base64," + plain64(token),
    "base64 twice": lambda token: plain64(plain64(token)),
    "base64 of UTF-16": lambda token: base64.b64encode(token.encode("utf-16-le")).decode(),
    "hexadecimal digits": lambda token: token.encode().hex(),
    "JSON": lambda token: '"' + "".join(f"\\u{ord(letter):04x}" for letter in token) + '"',
    "JSON, its first letter": lambda token: '"\\u0068' + token[1:] + '"',
    "JSON, one in the middle": lambda token: f'"{token[:9]}\\u{ord(token[9]):04X}{token[10:]}"',
    "YAML": lambda token: '"\\x68' + token[1:] + '"',
    "YAML, eight digits": lambda token: '"\\U00000068' + token[1:] + '"',
    "a shell": lambda token: "$'\\150" + token[1:] + "'",
    "JavaScript": lambda token: "'\\u{68}" + token[1:] + "'",
    "percent signs": lambda token: "%68" + token[1:],
    "percent signs alone": lambda token: "https://h/?t=" + "".join(f"%{ord(letter):02X}" for letter in token),
    "percent signs around base64": lambda token: quote("x=" + plain64(token), safe=""),
    "HTML": lambda token: "&#104;" + token[1:],
    "HTML, hexadecimal": lambda token: "".join(f"&#x{ord(letter):x};" for letter in token),
}  # fmt: skip


@pytest.mark.parametrize("how", ENCODED)
@pytest.mark.parametrize("path", ["docs/notes.md", "stacks/Pulumi.x.yaml", "tests/x.json", "new.py"])
def test_an_encoded_token_is_found_in_its_line(how: str, path: str) -> None:
    written = ENCODED[how](TOKEN)
    secrets = secrets_in(path, f"first\nsecond\nvalue: {written}\nlast\n")
    assert {each.line for each in secrets} == {3}
    assert "Hugging Face token" in {each.kind for each in secrets}
    assert all(written not in str(each) and TOKEN not in str(each) for each in secrets)


@pytest.mark.parametrize("how", ENCODED)
def test_no_output_shows_an_encoded_token(how: str) -> None:
    bare = ENCODED[how](TOKEN).strip("'\"$")
    assert bare not in redact(f"before {bare} after")
    assert redact("a plain text of ours: sha256:" + "0a1b2c3d" * 8) == "a plain text of ours: sha256:" + "0a1b2c3d" * 8


@pytest.mark.parametrize(
    "coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"]
)
@pytest.mark.parametrize("before", ["", "ключ 你", "key="])
def test_a_token_in_a_file_of_another_coding_is_found(coding: str, before: str, tmp_path: Path) -> None:
    if before == "ключ 你" and coding[-2:] in ("le", "be"):
        before = "ключ "  # without a mark, letters beyond Latin are rubbish to the scan
    (tmp_path / "x.txt").write_bytes(f"one\ntwo\n{before}{TOKEN}\n".encode(coding))
    (secret,) = new_secrets(tmp_path / "none", tmp_path, ["x.txt"])
    assert secret == FoundSecret("x.txt", 3, "Hugging Face token")


@pytest.mark.parametrize(
    "text",
    [
        f"a: >-\n  {TOKEN[:15]}\n  {TOKEN[15:]}\n",
        f"a: >-\n    {TOKEN[:10]}\n    {TOKEN[10:20]}\n    {TOKEN[20:]}\nb: 1\n",
        f"a: |\n  {TOKEN[:15]}\n  {TOKEN[15:]}\n",
        f'a: "{TOKEN[:15]}\\\n  {TOKEN[15:]}"\n',
        f"a: {TOKEN[:15]}\n  {TOKEN[15:]}\n",
        f"a: '{TOKEN[:15]}\r\n  {TOKEN[15:]}'\r\n",
        f"a: >-\n  {plain64(TOKEN)[:20]}\n  {plain64(TOKEN)[20:]}\n",
        f"a: |\n  {plain64(PEM)[:40]}\n  {plain64(PEM)[40:]}\n",
        f'A={TOKEN[:15]}\\\n{TOKEN[15:]}\n',
    ],
)  # fmt: skip
def test_a_token_broken_over_lines_is_found(text: str) -> None:
    secrets = secrets_in("stacks/Pulumi.x.yaml", "config:\n" + text)
    assert len(secrets) >= 1
    assert all(each.line in (2, 3, 4) and TOKEN[:15] not in str(each) for each in secrets)


def test_the_second_half_of_a_token_is_told_where_the_first_was_there_before(tmp_path: Path) -> None:
    for side, more in (("base", ""), ("head", f"  {TOKEN[15:]}\n")):
        (tmp_path / side).mkdir()
        (tmp_path / side / "x.yaml").write_text(f"a: >-\n  {TOKEN[:15]}\n{more}")
    (secret,) = new_secrets(tmp_path / "base", tmp_path / "head", ["x.yaml"])
    assert secret.kind == "Hugging Face token"
    assert list(new_secrets(tmp_path / "head", tmp_path / "head", ["x.yaml"])) == []


@pytest.mark.parametrize("how", ["base64", "base64 for addresses", "percent signs", "hexadecimal digits"])
def test_an_encoded_token_in_a_files_name_is_found_and_not_repeated(how: str) -> None:
    written = ENCODED[how](TOKEN)
    (secret,) = (each for each in secrets_in(f"docs/{written}.md", "nothing\n") if not each.line)
    assert secret.kind == "Hugging Face token"
    assert written not in str(secret)


@pytest.mark.parametrize(
    "value",
    [
        plain64(TOKEN),
        url64(TOKEN),
        '"\\x68' + TOKEN[1:] + '"',
        '"%68' + TOKEN[1:] + '"',
        TOKEN.encode().hex(),
        f">-\n        {TOKEN[:15]}\n        {TOKEN[15:]}",
        f"|-\n        {TOKEN[:15]}\n        {TOKEN[15:]}",
    ],
)
def test_a_stack_file_with_one_is_refused_and_no_report_repeats_it(value: str, tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    text = GOOD.read_text().replace("      maxTokens: 8192\n", f"      maxTokens: 8192\n      alias: {value}\n")
    file.write_text(text)
    reading = read_file(file)
    assert reading.stops
    assert any(each.code == "EBB048" and each.path == "models.llama-8b.alias" for each in reading.findings)
    bare = value.strip('"')
    output = json.dumps([str(each) for each in reading.findings])
    assert all(part not in output for part in (bare, TOKEN, TOKEN[:15], TOKEN[15:]))


@pytest.mark.parametrize(
    "text",
    [
        "revision: 0e9e39f249a16976918f6564b8830bc894c89659",
        "a_name_of_a_function_that_is_long_enough_to_be_base64",
        "path/to/some/file/of/the/repository/that/is/long.py",
        "image: r.example.com/x@sha256:" + "0a1b2c3d" * 8,
        plain64("only words, and nothing else at all"),
        "https://example.com/?q=%68ello%20world%20and%20more",
        "one\n  word\n  each\n  line\n",
        "  secure: v1:AbCdEfGhIjKlMnOp:" + plain64("some ciphertext of Pulumi's own"),
    ],
)
def test_what_only_looks_encoded_is_not_told(text: str) -> None:
    assert secrets_in("docs/x.md", text) == []
    assert redact(text) == text
