"""A secret in a stack file is found wherever it stands and shown nowhere. All secrets here are made up."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from infra.stackfile import ConfigError, load_file
from infra.stackfile.cleartext_secrets import find_secrets
from infra.stackfile.schema.stack import KeyConfig

GOOD = (Path(__file__).parents[1] / "fixtures/stackfile/Pulumi.good.yaml").read_text()
FILE = "stacks/Pulumi.aws-prod.yaml"
KEEP = (
    "allowed: no secret in clear in a stack file; fix: take it out, withdraw it where it was "
    "made, and keep the new one "
    "in Pulumi's or the cluster's secrets [EBB048 mandatory]"
)
ENGINE = (
    "where whoever may read the pod reads it; allowed: no secret in clear in a stack file; "
    "fix: take it out and withdraw "
    "it: keys are the gateway's, weights come from the model store [EBB049 error]"
)
BODY = "Zq7" * 12
# Put together here, so that no scanner of this repository takes one for a real secret.
LOOKS = {
    "Hugging Face": "hf" + "_" + BODY,
    "OpenAI": "sk" + "-" + BODY,
    "AWS": "AK" + "IA" + "Q7ZP" * 4,
    "GitHub": "gh" + "p_" + BODY,
    "GitHub fine-grained": "github" + "_pat_" + BODY,
    "Google": "AI" + "za" + BODY[:35],
    "GitLab": "gl" + "pat-" + BODY,
    "Pulumi": "pul" + "-" + "0a1b2c3d" * 5,
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\\n" + BODY,
    "address with password": "https://me:" + BODY + "@registry.example.com",
}


def refusal(tmp_path: Path, text: str, secret: str) -> list[str]:
    file = tmp_path / "stacks" / "Pulumi.aws-prod.yaml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_file(file)
    everything = repr(caught.value) + str(caught.value.findings) + "".join(traceback.format_exception(caught.value))
    assert secret not in everything
    return str(caught.value).splitlines()


@pytest.mark.parametrize("kind", LOOKS)
def test_what_looks_like_a_secret_is_refused_and_redacted(tmp_path: Path, kind: str) -> None:
    text = GOOD.replace("product: A100", f'product: "{LOOKS[kind]}"')
    assert refusal(tmp_path, text, BODY) == [
        f"{FILE}: pools.gpu-8xa100.gpu.product: <redacted> is a secret in clear; {KEEP}"
    ]


def test_a_secret_in_a_wrong_place_is_in_none_of_the_other_findings(tmp_path: Path) -> None:
    token = LOOKS["Hugging Face"]
    text = GOOD.replace("maxTokens: 8192", f"maxTokens: {token}\n      {token}: 1\n      pool2: {token}")
    text = text.replace("revision: 0e9e39f249a16976918f6564b8830bc894c89659", f"revision: x{'y' * 70}-{token}")
    lines = refusal(tmp_path, text, token[:12])
    assert {"EBB048 mandatory]", "EBB050 error]", "EBB111 error]", "EBB020 mandatory]"} == {
        line.rpartition("[")[2] for line in lines
    }


ALLOWED = ", ".join(sorted(field.alias or name for name, field in KeyConfig.model_fields.items()))


@pytest.mark.parametrize("key", ["password", "apiKey", "api_key", "token", "clientSecret"])
def test_a_plain_value_under_a_key_for_secrets_is_refused(tmp_path: Path, key: str) -> None:
    text = GOOD.replace("demo: {group: everyone}", f"demo: {{group: everyone, {key}: hunter2}}")
    assert refusal(tmp_path, text, "hunter2") == [
        f"{FILE}: gateway.keys.demo.{key}: <redacted> stands under a key for secrets, in clear; {KEEP}",
        f"{FILE}: gateway.keys.demo.{key}: is not a known key; allowed: {ALLOWED}; fix: remove it [EBB050 error]",
    ]


def test_secrets_of_other_namespaces_are_found_but_encrypted_ones_are_fine(tmp_path: Path) -> None:
    text = GOOD + "  aws:secretKey: hunter2\n  aws:accessKey:\n    secure: v1:abc:def\n"
    assert refusal(tmp_path, text, "hunter2") == [
        f"{FILE}: config.aws:secretKey: <redacted> stands under a key for secrets, in clear; {KEEP}"
    ]


def test_the_name_of_a_pull_secret_is_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(GOOD.replace("ebbtide}", "ebbtide, pullSecret: registry-login}"))
    assert load_file(file).warnings == ()


def test_secrets_in_extra_args_are_refused_with_the_value_that_follows(tmp_path: Path) -> None:
    token = LOOKS["Hugging Face"]
    args = f'[--api-key, hunter2hunter2, --hf_token=abcdefgh, --seed, "1", {token}]'
    text = GOOD.replace(
        "maxTokens: 8192", f"maxTokens: 8192\n      extraArgs: {args}\n      aliases: [hunter2hunter2.]"
    )
    lines = refusal(tmp_path, text, "hunter2hunter2")
    assert not any("abcdefgh" in line or token in line for line in lines)
    at = f"{FILE}: models.llama-8b.extraArgs"
    assert lines[:3] == [
        f"{at}[0]: --api-key puts a secret on the engine's command line, {ENGINE}",
        f"{at}[2]: --hf-token puts a secret on the engine's command line, {ENGINE}",
        f"{at}[5]: <redacted> is a secret on the engine's command line, {ENGINE}",
    ]


@pytest.mark.parametrize("name", ["HF_TOKEN", "OPENAI_API_KEY", "DB_PASSWORD", "VLLM_API_KEY"])
def test_secrets_in_extra_env_are_refused(tmp_path: Path, name: str) -> None:
    text = GOOD.replace(
        "maxTokens: 8192", f"maxTokens: 8192\n      extraEnv: {{{name}: hunter2, OMP_NUM_THREADS: '4'}}"
    )
    assert refusal(tmp_path, text, "hunter2") == [
        f"{FILE}: models.llama-8b.extraEnv.{name}: <redacted> is a secret in an environment "
        f"variable, where whoever may "
        "read the pod reads it; allowed: no secret in clear in a stack file; fix: take it out of extraEnv and withdraw "
        "it; weights come from the model store, without a token [EBB049 error]"
    ]


def test_a_secret_is_cut_out_of_a_longer_text_before_that_is_shortened(tmp_path: Path) -> None:
    secret = "correct-horse-battery-staple"
    text = GOOD.replace("maxTokens: 8192", f"maxTokens: 8192\n      password: {secret}")
    text = text.replace("0e9e39f249a16976918f6564b8830bc894c89659", "y" * 64 + secret)
    refusal(tmp_path, text, secret[:8])


@pytest.mark.parametrize("change", ["aliases: [{}]", "pool: {}", "dtype: {}", "{}: 1"])
def test_no_fix_is_made_out_of_a_secret(tmp_path: Path, change: str) -> None:
    token = LOOKS["Hugging Face"]
    text = GOOD.replace("pool: gpu-8xa100\n", "") + "\n"
    text = text.replace("maxTokens: 8192", "maxTokens: 8192\n      " + change.format(token))
    lines = refusal(tmp_path, text, token)
    assert not any(BODY.lower() in line.lower() for line in lines)


def test_no_name_is_suggested_for_a_model_called_like_a_secret(tmp_path: Path) -> None:
    lines = refusal(tmp_path, GOOD.replace("llama-8b:", LOOKS["Hugging Face"] + ":"), BODY)
    assert not any(BODY.lower() in line.lower() for line in lines)


def test_a_secret_in_yaml_that_cannot_be_read_is_not_repeated(tmp_path: Path) -> None:
    token = LOOKS["Hugging Face"]
    assert "'<redacted>'" in refusal(tmp_path, f"config: *{token}\n", token)[0]


def test_a_model_names_the_secret_with_its_token_and_never_the_token_itself() -> None:
    named = find_secrets({"models": {"llama": {"hubToken": "hf-token"}}})
    assert named.problems == []
    itself = find_secrets({"models": {"llama": {"hubToken": LOOKS["Hugging Face"]}}})
    assert [int(problem.code[3:]) for problem in itself.problems] == [48]


@pytest.mark.parametrize(
    "value",
    [
        "hunter2hunter2",
        LOOKS["Hugging Face"],
        LOOKS["AWS"],
        "v1:half",
        "v2:abc:def",
        "v1:" + LOOKS["GitHub"] + ":x",
        "a b",
    ],
)
@pytest.mark.parametrize("at", ["hub:token", "other:deep"])
def test_a_plain_text_under_secure_is_told_as_such(tmp_path: Path, value: str, at: str) -> None:
    written = f"{{secure: '{value}'}}" if at == "hub:token" else f"{{list: [{{x: {{secure: '{value}'}}}}]}}"
    (line,) = refusal(tmp_path, GOOD + f"  {at}: {written}\n", value)
    assert "<redacted> stands under secure: in clear, for only Pulumi's own command encrypts it; allowed: " in line
    assert line.endswith("set the new one with: pulumi config set --secret [EBB048 mandatory]")


@pytest.mark.parametrize(
    "cipher",
    [
        "v1:abc:def",
        "v1:AbCdEfGhIjKlMnOp:" + "q8" * 30 + "==",
        "AQICAHh" + "q8" * 60,
        "AAABAF" + "q8" * 40,
        "CiQA" + "q8" * 50,
    ],
)
def test_what_pulumi_has_encrypted_is_fine(tmp_path: Path, cipher: str) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(GOOD + f"  hub:token:\n    secure: {cipher}\n")
    assert load_file(file).warnings == ()


def test_a_plain_text_under_secure_in_this_programs_keys_is_told_once(tmp_path: Path) -> None:
    text = GOOD.replace("demo: {group: everyone}", "demo: {group: everyone, sha256: {secure: hunter2hunter2}}")
    (line,) = refusal(tmp_path, text, "hunter2hunter2")
    assert "gateway.keys.demo.sha256.secure: <redacted> stands under secure: in clear" in line


@pytest.mark.parametrize("kind", [*LOOKS])
def test_a_secret_in_a_comment_is_told_with_its_line(tmp_path: Path, kind: str) -> None:
    secret = LOOKS[kind].replace("\\n", "")
    (line,) = refusal(tmp_path, GOOD + f"# the old one: {secret}\n", BODY)
    assert f"holds a secret in clear in line {GOOD.count(chr(10)) + 1}, beside its values" in line
    assert "fix: take it out of the comment" in line


@pytest.mark.parametrize(
    "more",
    ["about: {0}\n", "secretsprovider: {0}\n", "x: {{y: [{0}]}}\n", "{0}: 1\n", "description: the token is {0}.\n"],
)
def test_a_secret_outside_config_is_told(tmp_path: Path, more: str) -> None:
    (line,) = refusal(tmp_path, more.format(LOOKS["Hugging Face"]) + GOOD, BODY)
    assert "secret in clear" in line


def test_a_value_that_a_later_one_replaces_is_read_too(tmp_path: Path) -> None:
    text = GOOD.replace(
        "maxTokens: 8192", f"maxTokens: 8192\n      task: {LOOKS['Hugging Face']}\n      task: generate"
    )
    lines = refusal(tmp_path, text, BODY)
    assert any("holds a secret in clear in line" in line for line in lines)


@pytest.mark.parametrize("key", ["models", "platform", "gateway", "ebtide:models", "Ebbtide:models", "ebbtid:platform"])
def test_a_forgotten_namespace_is_told_as_what_it_is(tmp_path: Path, key: str) -> None:
    section = key.rpartition(":")[2]
    text = GOOD.replace("ebbtide}", "ebbtide, pullSecret: registry-login}").replace(
        "maxTokens: 8192", "maxTokens: 8192\n      hubToken: hugging-face"
    )
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(text.replace(f"ebbtide:{section}:", f"{key}:"))
    with pytest.raises(ConfigError) as caught:
        load_file(file)
    problems = [
        finding for finding in caught.value.findings if section in finding.path or "namespace" in finding.message
    ]
    assert not any("secret" in finding.message for finding in caught.value.findings)
    assert any(finding.code == "EBB050" and f"ebbtide:{section}" in finding.fix for finding in problems)
