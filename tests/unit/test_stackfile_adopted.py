"""A cluster that is there already: kubeconfig, nodes, claim; and the engine's image, each with whole messages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.platforms.contract import Pool, PoolRequest, Taint
from components.platforms.existing.judge import inspect_machine
from components.platforms.existing.nodes import nodes_of
from components.platforms.existing.settings import ExistingSettings
from components.platforms.kinds import KINDS
from infra.gate.judge_process import judge_renames
from infra.program import platform
from infra.program.build import judged
from infra.stackfile import ConfigError, load
from infra.stackfile.load import read_values
from tests.unit.test_stackfile_messages import FILE, messages, stack

TOKEN = "sk-this-must-never-be-shown"
DIGEST = "sha256:" + "ab" * 32


def kubeconfig(folder: Path, **contexts: str) -> Path:
    """A kubeconfig with these contexts, each leading to an address."""
    document = {
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in contexts],
        "clusters": [{"name": name, "cluster": {"server": server}} for name, server in contexts.items()],
        "users": [{"name": name, "user": {"token": TOKEN}} for name in contexts],
    }
    (folder / "config").write_text(yaml.safe_dump(document))
    return folder / "config"


def settings(file: Path, context: str = "gpu-cluster", server: str | None = None) -> ExistingSettings:
    raw = {
        "kind": "existing",
        "kubeconfig": str(file),
        "context": context,
        "registry": {"address": "registry.example.com/ebbtide"},
        "modelStore": {"claim": "weights"},
    }
    return ExistingSettings.model_validate(raw | ({"apiServer": server} if server else {}))


def lines_of(place: ExistingSettings) -> list[str]:
    return [str(platform.finding(problem, FILE)) for problem in inspect_machine(place)]


def test_54_a_context_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, dev="https://10.0.0.1:6443", prod="https://10.0.0.2:6443")
    assert lines_of(settings(file)) == [
        f"{FILE}: platform.context: 'gpu-cluster' is not a context of {file}; allowed: dev, prod; "
        "fix: use one of them, or add the context: kubectl config get-contexts shows what is there [EBB054 error]"
    ]


def test_54_a_context_of_another_cluster_is_refused(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, **{"gpu-cluster": "https://10.0.0.1:6443"})
    assert lines_of(settings(file, server="https://10.0.0.2:6443")) == [
        f"{FILE}: platform.context: 'gpu-cluster' leads to another cluster, https://10.0.0.1:6443, than the stack's; "
        "allowed: a context that leads to https://10.0.0.2:6443; "
        "fix: use the context of the stack's cluster, or write the address it has now under apiServer [EBB054 error]"
    ]


@pytest.mark.parametrize("server", ["https://API.example.com", "https://api.example.com:443/"])
def test_54_two_spellings_of_one_address_are_one_cluster(tmp_path: Path, server: str) -> None:
    file = kubeconfig(tmp_path, **{"gpu-cluster": "https://api.example.com"})
    assert lines_of(settings(file, server=server)) == []


def test_54_a_kubeconfig_that_is_not_there_only_warns_because_a_preview_may_have_none(tmp_path: Path) -> None:
    file = tmp_path / "none"
    assert lines_of(settings(file)) == [
        f"{FILE}: platform.kubeconfig: '{file}' is not on this machine; allowed: a kubeconfig with the context; "
        "fix: write the path of a kubeconfig that has the context [EBB054 warning]"
    ]


@pytest.mark.parametrize("text", ["{", "- a", "clusters: [x]\ncontexts: {a: b}", f"users: [{TOKEN}", "\x00"])
def test_54_a_broken_kubeconfig_is_refused_without_a_word_of_what_is_in_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    (line,) = lines_of(settings(tmp_path / "config"))
    assert line.endswith("[EBB054 error]")
    assert TOKEN not in line


def test_54_nothing_is_created_when_the_context_leads_elsewhere(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path, **{"gpu-cluster": "https://10.0.0.1:6443"})
    raw = stack(
        (("platform", "kubeconfig"), str(file)),
        (("platform", "apiServer"), "https://10.0.0.2:6443"),
        (("models", "llama-8b", "licenceAccepted"), True),
    )
    with pytest.raises(ConfigError, match=r"stacks/Pulumi\.onprem\.yaml: platform\.context: 'gpu-cluster' leads"):
        judged(read_values(raw, "stacks/Pulumi.onprem.yaml"))


OWNER = (
    "on the list of those known to load no foreign code: a code owner has to agree; allowed: what "
    "components/catalog/engine_allowed.yaml has, spelled in full; fix: take it out, or have an owner add it to the "
    "list with a source [EBB060 warning]"
)
CASES: dict[str, tuple[list[tuple[tuple[Any, ...], Any]], list[str]]] = {
    "38 a load balancer before a gateway without keys": (
        [(("platform", "ingress"), {"serviceType": "LoadBalancer"}), (("gateway",), {})],
        [
            "platform.ingress.serviceType: 'LoadBalancer' opens the gateway while no key says who may ask; "
            "allowed: at least one key under gateway.keys; fix: add a group and a key under gateway [EBB038 mandatory]"
        ],
    ),
    "41 an image by tag": (
        [(("image",), {"base": "registry.example.com/vllm/vllm-openai:latest"})],
        [
            "image.base: 'registry.example.com/vllm/vllm-openai:latest' is not an image by digest: what a tag names "
            "can change between two nodes; allowed: registry/name:tag@sha256: and 64 hexadecimal digits; "
            "fix: copy the digest from: docker buildx imagetools inspect IMAGE [EBB041 mandatory]"
        ],
    ),
    "41 an image by digest": (
        [(("image",), {"base": f"registry.example.com:5000/vllm/vllm-openai:v0.32.0@{DIGEST}"})],
        [
            "image.base: 'registry.example.com:5000/vllm/vllm-openai:v0.32.0@sha256:"
            f"{('ab' * 32)[:22]}…' is no image {OWNER}"
        ],
    ),
    "46 a claim for one node under several": (
        [(("platform", "modelStore", "accessMode"), "ReadWriteOnce")],
        [
            "platform.modelStore.accessMode: 'ReadWriteOnce' is mounted on one node at a time, and the models' "
            "replicas may run on 2; allowed: ReadOnlyMany or ReadWriteMany; fix: keep the weights on a claim that many "
            "nodes may read, or let one pool with max: 1 serve all models [EBB046 error]"
        ],
    ),
    "46 a claim for one node under one node": (
        [(("platform", "modelStore", "accessMode"), "ReadWriteOnce"), (("pools", "gpu-8xa100", "max"), 1)],
        [],
    ),
    "53 an engine image below the floor": (
        [(("image",), {"base": f"registry.example.com/vllm/vllm-openai:v0.21.3@{DIGEST}"})],
        [
            f"image.base: 'registry.example.com/vllm/vllm-openai:v0.21.3@sha256:{('ab' * 32)[:27]}…' is vLLM 0.21.3, "
            "below the security floor (vLLM security advisory GHSA-94f4-hr76-p5j6, CVE-2026-48746); "
            "allowed: vLLM 0.22.0 or newer; fix: take vLLM 0.22.0 or newer, or leave it out for 0.32.0 "
            "[EBB053 mandatory]",
            "image.base: 'registry.example.com/vllm/vllm-openai:v0.21.3@sha256:"
            f"{('ab' * 32)[:27]}…' is no image {OWNER}",
        ],
    ),
    "53 an engine below the floor among the packages": (
        [(("image",), {"extraPackages": ["hf-transfer==0.1.9", "vllm==0.9.1"]})],
        [
            "image.extraPackages[1]: 'vllm==0.9.1' is vLLM 0.9.1, below the security floor "
            "(vLLM security advisory GHSA-94f4-hr76-p5j6, CVE-2026-48746); allowed: vLLM 0.22.0 or newer; "
            "fix: take vLLM 0.22.0 or newer, or leave it out for 0.32.0 [EBB053 mandatory]",
            f"image.extraPackages[1]: 'vllm==0.9.1' is no package {OWNER}",
        ],
    ),
    "54 an address that is none": (
        [(("platform", "apiServer"), "10.0.0.1")],
        [
            "platform.apiServer: '10.0.0.1' is not the address of an API server; "
            "allowed: https://host:port, as the kubeconfig has it; fix: copy it from: kubectl config view --minify "
            "[EBB054 error]"
        ],
    ),
    "a machine where the nodes are there": (
        [(("pools", "gpu-8xa100", "machine"), "p4d.24xlarge")],
        [
            "pools.gpu-8xa100.machine: has no meaning on platform existing, where the nodes are there already; "
            "allowed: gpu, and nodes or nodeLabels; fix: take it out, and describe the nodes under gpu [EBB194 error]"
        ],
    ),
    "no gpu where no machine says": (
        [(("pools", "gpu-8xa100"), {"max": 1})],
        ["pools.gpu-8xa100.gpu: is missing; allowed: the GPUs of one node; fix: add gpu: {count: 1} [EBB103 error]"],
    ),
    "one node in two pools": (
        [
            (("pools", "gpu-8xa100", "nodes"), ["a", "b"]),
            (("pools", "other"), {"gpu": {"count": 1}, "max": 1, "nodes": ["b"]}),
        ],
        [
            "pools.other.nodes[0]: 'b' is a node of pool gpu-8xa100 too; allowed: nodes that no other pool names; "
            "fix: keep it in one of the two [EBB197 error]"
        ],
    ),
    "sharing where the operator is somebody else's": (
        [(("pools", "gpu-8xa100", "sharing"), {"timeSlicing": {"replicas": 2}})],
        [
            "pools.gpu-8xa100.sharing: is set up by the GPU operator, which this stack does not install; "
            "allowed: sharing where gpuLayer.install is helm; fix: set gpuLayer: {install: helm}, or share in the "
            "cluster's own operator and give gpu.count as pods see it [EBB198 error]"
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_whole_message_of_what_does_not_fit_a_cluster(case: str) -> None:
    changes, expected = CASES[case]
    assert messages(stack(*changes)) == [f"{FILE}: {line}" for line in expected]


def request(labels: Mapping[str, str], *nodes: str, taint: bool = True, **own: str) -> PoolRequest:
    taints = (Taint("workerType", "x"),) if taint else ()
    return PoolRequest(Pool("p", own or {"workerType": "x"}, taints, 1), nodes=nodes, node_labels=labels)


CLUSTER = {
    "n1": {"gpu": "l40s", "rack": "1"},
    "n2": {"gpu": "l40s", "rack": "2"},
    "n3": {"gpu": "a100"},
    "n8": {},
    "n9": {},
}


def find(labels: Mapping[str, str], kubeconfig: str, context: str) -> tuple[str, ...]:
    return tuple(name for name, carried in CLUSTER.items() if labels.items() <= carried.items())


def test_nodes_are_found_by_their_labels_beside_those_that_are_named() -> None:
    pools = {"a": request({"gpu": "l40s"}, "n9"), "b": request({}, "n8")}
    assert nodes_of(pools, "k", "c", find) == {"a": ("n9", "n1", "n2"), "b": ("n8",)}


def test_a_named_node_that_is_not_there_is_refused_before_a_patch_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    with pytest.raises(pulumi.RunError, match=r"pools\.a\.nodes: .* has no node n7; allowed: n1, n2, n3, n8, n9; fix"):
        nodes_of({"a": request({}, "n1", "n7")}, "k", "c", find)


def test_nodes_that_carry_the_pools_labels_and_get_no_taint_are_left_alone() -> None:
    pools = {"a": request({"gpu": "l40s"}, taint=False, gpu="l40s")}
    assert nodes_of(pools, "k", "c", lambda *_: pytest.fail("the cluster was asked")) == {"a": ()}


def test_two_pools_that_find_one_node_are_refused() -> None:
    pools = {"a": request({"gpu": "l40s"}), "b": request({"rack": "2"})}
    with pytest.raises(pulumi.RunError, match=r"pools\.b\.nodeLabels: node n2 belongs to pool a too; allowed: .*; fix"):
        nodes_of(pools, "k", "c", find)


def test_labels_that_no_node_carries_are_refused_rather_than_waited_for() -> None:
    with pytest.raises(pulumi.RunError, match=r"pools\.a\.nodeLabels: no node carries gpu=h100; allowed: .*; fix"):
        nodes_of({"a": request({"gpu": "h100"})}, "k", "c", find)


def test_a_cluster_that_does_not_answer_stops_an_update_before_labels_are_taken_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(*_: object) -> tuple[str, ...]:
        raise ConnectionError(TOKEN)

    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    with pytest.raises(pulumi.RunError, match="cannot be asked for nodes with gpu=l40s") as refused:
        nodes_of({"a": request({"gpu": "l40s"})}, "k", "c", silent)
    assert TOKEN not in str(refused.value)
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    assert nodes_of({"a": request({"gpu": "l40s"})}, "k", "c", silent) == {"a": ()}
    assert len(warnings) == 1


def test_55_a_pool_under_another_name_is_a_replacement() -> None:
    before = load(stack(), FILE).config.pools
    pools = {"gpu-big": {"gpu": {"count": 8, "product": "A100", "memory": "80Gi"}, "max": 4}}
    after = load(stack((("pools",), pools), (("models", "llama-8b", "pool"), "gpu-big")), FILE).config.pools
    assert [str(platform.finding(problem, FILE)) for problem in judge_renames(before, after)] == [
        f"{FILE}: pools.gpu-big: is pool gpu-8xa100 under another name: its nodes are taken away, with what they "
        "serve, and others made; allowed: gpu-8xa100, or an approval of the replacement; fix: keep the name "
        "gpu-8xa100; or add gpu-big first, move the models, and take gpu-8xa100 out in a later change "
        "[EBB055 mandatory]"
    ]


def test_55_a_pool_that_is_new_or_gone_is_no_rename() -> None:
    before = load(stack(), FILE).config.pools
    pools = {"gpu-8xa100": {"gpu": {"count": 8}, "max": 2}, "gpu-1xl4": {"gpu": {"count": 1}, "max": 1}}
    after = load(stack((("pools",), pools)), FILE).config.pools
    assert list(judge_renames(before, after)) == []


def test_55_one_of_two_like_pools_that_is_gone_is_no_rename_of_the_other() -> None:
    like = {"gpu": {"count": 8}, "max": 2}
    before = load(stack((("pools",), {"gpu-8xa100": like, "second": like})), FILE).config.pools
    after = load(stack((("pools",), {"gpu-8xa100": like})), FILE).config.pools
    assert list(judge_renames(before, after)) == []


def test_a_place_hears_how_long_a_request_may_be_silent_and_what_to_protect() -> None:
    about = platform.about(load(stack(), FILE).config, "ebbtide", "onprem")
    assert (about.name, about.environment, about.protect) == ("ebbtide-onprem", "prod", True)
    # waiting for the guard and for the wake: 15 minutes each; then five until the first byte
    assert about.longest_silence_seconds == 35 * 60
    impatient = platform.about(load(stack((("guard", "whenFull"), "refuse")), FILE).config, "ebbtide", "onprem")
    assert impatient.longest_silence_seconds == 20 * 60
    assert not platform.about(load(stack((("environment",), "dev")), FILE).config, "ebbtide", "x").protect


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_settings_are_read_without_the_sdk_of_any_place(name: str) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from components.platforms.kinds import KINDS; "
        f"KINDS[{name!r}].settings(); KINDS[{name!r}].judge(); "
        "print([m for m in ('pulumi_aws', 'pulumi_azure_native', 'pulumi_gcp') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
