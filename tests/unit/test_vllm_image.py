"""The engine's image: which Dockerfile, which base, which additions; and the resource that a stack gets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pydantic import ValidationError

from components.catalog.versions import Pinned, pinned, versions
from components.model_service import arguments
from components.platforms.contract import Registry, RegistryAuth
from components.vllm_image import VllmImage
from components.vllm_image.build import CONTEXT, engine_recipe

DIGEST = "sha256:" + "0123456789abcdef" * 4
VLLM = Pinned(version="0.32.0", date="2026-10-20", source="x", image="docker.io/vllm/vllm-openai:v0.32.0")
LOCK = (CONTEXT / "requirements-cpu.txt").read_text()


class Recorder(pulumi.runtime.Mocks):
    """Keeps what was asked for; a built image is known by a digest, as from the real provider."""

    def __init__(self) -> None:
        self.asked: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.asked[args.name] = args.inputs
        outputs = dict(args.inputs)
        if args.typ == "docker-build:index:Image":
            outputs |= {"ref": f"{args.name}@{DIGEST}", "digest": DIGEST}
        return f"{args.name}-id", outputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[Any, Any]:
        raise AssertionError(f"nothing is looked up: {args.token}")


def deployed(*args: Any, **kwargs: Any) -> tuple[dict[str, dict[str, Any]], str]:
    """What the component asks the engine for, and its ``ref``."""
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, preview=False)
    refs: list[str] = []

    @pulumi.runtime.test
    def program() -> pulumi.Output[None]:
        return VllmImage(*args, **kwargs).ref.apply(refs.append)

    program()
    return recorder.asked, refs[0]


def test_the_cpu_image_starts_from_the_base_the_place_offers_by_digest() -> None:
    recipe = engine_recipe("cpu", VLLM, {"python": f"reg/base@{DIGEST}"})
    assert recipe.dockerfile == CONTEXT / "Dockerfile.cpu"
    assert recipe.arguments == {"BASE": f"reg/base@{DIGEST}", "EXTRA_PACKAGES": ""}
    assert recipe.tag == "0.32.0-cpu"


def test_without_a_base_the_cpu_image_takes_its_dockerfiles_own() -> None:
    assert "BASE" not in engine_recipe("cpu", VLLM, {}).arguments


def test_the_cuda_image_never_starts_from_the_python_base() -> None:
    recipe = engine_recipe("cuda", VLLM, {"python": f"reg/base@{DIGEST}"})
    assert recipe.arguments["BASE"] == "docker.io/vllm/vllm-openai:v0.32.0"
    assert recipe.dockerfile == CONTEXT / "Dockerfile.cuda"


def test_the_driver_is_found_where_a_device_plugin_without_a_container_toolkit_puts_it() -> None:
    (line,) = [
        x for x in (CONTEXT / "Dockerfile.cuda").read_text().splitlines() if x.startswith("ENV LD_LIBRARY_PATH=")
    ]
    assert line.partition("=")[2].startswith("/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+:"), (
        "before the base's, and alone"
    )


def test_a_known_digest_is_part_of_the_cuda_base() -> None:
    known = VLLM.model_copy(update={"digest": DIGEST})
    assert engine_recipe("cuda", known, {}).arguments["BASE"] == f"docker.io/vllm/vllm-openai:v0.32.0@{DIGEST}"


def test_the_stacks_own_cuda_base_goes_before_the_catalogues() -> None:
    recipe = engine_recipe("cuda", VLLM, {"vllm-openai": f"mirror/vllm@{DIGEST}"})
    assert recipe.arguments["BASE"] == f"mirror/vllm@{DIGEST}"


def test_pinned_extra_packages_reach_the_build() -> None:
    packages = ["runai-model-streamer[s3]==0.15.7", "bitsandbytes==0.48.0"]
    assert engine_recipe("cpu", VLLM, {}, packages).arguments["EXTRA_PACKAGES"] == " ".join(packages)


@pytest.mark.parametrize(
    "package", ["vllm", "a>=1", "a==1; rm -rf /", "a==1 b", "$(id)==1", "a==$(id)", "-r==1", "a==1\nb"]
)
def test_an_extra_package_that_is_not_pinned_is_refused(package: str) -> None:
    with pytest.raises(ValueError, match=r"image\.extraPackages: .* not pinned: write name==version, for example"):
        engine_recipe("cpu", VLLM, {}, [package])


def test_the_image_is_pushed_and_named_by_digest_and_not_built_on_preview() -> None:
    base = {"python": f"127.0.0.1:5000/ebbtide/base-python@{DIGEST}"}
    asked, ref = deployed("vllm-cpu", Registry("127.0.0.1:5000/ebbtide", insecure=True, base_images=base), "cpu")
    image = asked["vllm-cpu"]
    (tag,) = image["tags"]
    assert re.fullmatch(rf"127\.0\.0\.1:5000/ebbtide/vllm:{pinned('vllm').version}-cpu-[0-9a-f]{{12}}", tag)
    assert image["push"] is True
    assert image["buildOnPreview"] is False
    assert image["buildArgs"] == {"BASE": base["python"], "EXTRA_PACKAGES": ""}
    assert not image.get("exports")
    assert "registries" not in image
    assert not Path(image["context"]["location"]).is_absolute(), "the state must not name a clone's path"
    assert Path(image["dockerfile"]["location"]).resolve() == CONTEXT / "Dockerfile.cpu"
    assert ref.endswith(f"@{DIGEST}")


def test_a_remote_registry_without_tls_is_pushed_to_by_an_export_that_says_so() -> None:
    asked, _ = deployed("vllm", Registry("reg.example.com/ebbtide", insecure=True), "cpu")
    [export] = asked["vllm"]["exports"]
    assert export["registry"]["insecure"] is True
    assert export["registry"]["push"] is True
    (name,) = export["registry"]["names"]
    assert name.startswith(f"reg.example.com/ebbtide/vllm:{pinned('vllm').version}-cpu-")
    assert asked["vllm"]["push"] is False


def test_credentials_go_to_the_registrys_host_and_stay_secret() -> None:
    auth = RegistryAuth("robot", pulumi.Output.secret("hunter2"))
    asked, _ = deployed("vllm", Registry("reg.example.com:5000/team/ebbtide", auth=auth), "cuda")
    registries = asked["vllm"]["registries"]
    assert pulumi.runtime.rpc._special_sig_key in registries, "marked as a secret on the way to the engine"
    [login] = registries["value"]
    assert login["address"] == "reg.example.com:5000"
    assert login["username"] == "robot"


def test_everything_the_cpu_image_installs_is_pinned_with_hashes() -> None:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==\S+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_the_lock_the_catalogue_and_the_cuda_dockerfile_name_one_vllm() -> None:
    version = pinned("vllm").version
    assert f"vllm-cpu=={version} " in LOCK
    assert f"vllm/vllm-openai:v{version}\n" in (CONTEXT / "Dockerfile.cuda").read_text()


def test_what_a_gpuless_machine_never_loads_is_not_downloaded() -> None:
    for name in ("triton", "torchvision", "nvidia-cusolver", "cuda-bindings"):
        assert not re.search(rf"^{name}==", LOCK, re.MULTILINE), name


def test_the_cpu_image_has_no_compiler_and_so_compiles_nothing_at_run_time() -> None:
    text = (CONTEXT / "Dockerfile.cpu").read_text()
    assert "ENV TORCH_COMPILE_DISABLE=1\n" in text
    assert not re.search(r"apt-get install[^\n]*(g\+\+|gcc|build-essential|clang)", text)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_image_runs_as_a_numeric_user_that_is_not_root(device: str) -> None:
    lines = (CONTEXT / f"Dockerfile.{device}").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001:10001"


def test_a_half_known_digest_is_refused() -> None:
    with pytest.raises(ValidationError, match="64 hex digits"):
        Pinned(version="1", date="2026-01-01", source="x", digest="sha256:abc")


def test_an_unknown_name_in_the_catalogue_is_told_what_there_is() -> None:
    with pytest.raises(KeyError, match=r"vlm is not in versions.yaml; it has .*vllm"):
        pinned("vlm")


def test_a_misspelled_field_of_the_catalogue_is_refused(tmp_path: Path) -> None:
    entry = {"version": "1", "date": "2026-01-01", "source": "x", "digets": None}
    (tmp_path / "v.yaml").write_text(yaml.safe_dump({"thing": entry}))
    with pytest.raises(ValidationError, match="digets"):
        versions(tmp_path / "v.yaml")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("canary.py", "/usr/local/bin/canary.py"),
        ("turn.py", "/usr/local/bin/turn.py"),
        ("serve.sh", "/usr/local/bin/serve"),
        ("logging.json", arguments.LOGGING),
        ("plugins", "/usr/local/share/ebbtide/plugins"),
    ],
)
def test_both_images_carry_what_the_pod_names_after_everything_that_takes_long(
    device: str, file: str, where: str
) -> None:
    lines = (CONTEXT / f"Dockerfile.{device}").read_text().splitlines()
    copied = lines.index(f"COPY {file} {where}")
    assert not [line for line in lines[copied:] if line.startswith("RUN ")]
    assert f"!{file}" in (CONTEXT / ".dockerignore").read_text().splitlines()


def test_the_pinned_engine_brings_the_vocabulary_of_gpt_oss_itself() -> None:
    """OpenAI's own package fetches it from the internet at the first request, which a pod with mounted weights cannot;
    its fork has it inside since 0.0.11. Sources: openai/harmony 101, vllm-project/vllm 22525."""
    match = re.search(r"^oss-harmony==(\d+)\.(\d+)\.(\d+) ", LOCK, re.MULTILINE)
    assert match is not None
    assert tuple(map(int, match.groups())) >= (0, 0, 11)
    assert "openai-harmony==" not in LOCK
