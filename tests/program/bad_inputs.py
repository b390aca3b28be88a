"""Stack files with one thing wrong each, by the number of the finding that every command must give."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from infra.planner.facts import adapters, presets, recorded_models
from infra.planner.facts.adapters import AdapterFacts
from infra.planner.facts.model_facts import ModelFacts
from tests.unit import plan_kit

LLAMA_8B, LLAMA_70B = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"
REMOVED = object()
NOBODY = "00000000-0000-0000-0000-000000000000"
VAULT = f"/subscriptions/{NOBODY}/resourceGroups/shared/providers/Microsoft.KeyVault/vaults/certs/certificates/llm"

EXISTING: Mapping[str, Any] = {
    "kind": "existing",
    "context": "gpu-cluster",
    "registry": {"address": "registry.example.com/ebbtide"},
    "modelStore": {"claim": "weights"},
}
AZURE: Mapping[str, Any] = {
    "kind": "azure",
    "region": "westeurope",
    "subscription": NOBODY,
    "tenant": NOBODY,
    "cluster": {
        "version": "1.35", "adminGroups": [NOBODY],
        "systemPool": {"machine": "Standard_D4s_v5", "min": 2, "max": 4},
    },
    "network": {"cidr": "10.40.0.0/16", "zones": ["1", "2"]},
    "ingress": {"host": "llm.example.com", "certificate": VAULT, "allowedNetworks": ["10.0.0.0/8"]},
}  # fmt: skip
GCP: Mapping[str, Any] = {
    "kind": "gcp",
    "project": "my-llm-project",
    "region": "europe-west4",
    "cluster": {"version": "1.35", "systemPool": {"machine": "e2-standard-4", "min": 2, "max": 4}},
    "network": {"cidr": "10.40.0.0/16", "zones": ["europe-west4-a", "europe-west4-b"]},
    "ingress": {"host": "llm.example.com", "certificate": "llm"},
}
# a wake takes longer there
ON_AZURE = {"platform": AZURE, "pools.one.machine": "Standard_NC24ads_A100_v4", "models.eight.coldStart": "15m"}
ON_GCP = {"platform": GCP, "pools.one.machine": "g2-standard-16", "pools.one.disk": {"size": "200Gi"}}


def on_existing(**pool: Any) -> dict[str, Any]:
    """Changes that put the stack on a cluster that is there already; keywords are keys of its pool."""
    card = {"count": 1, "product": "L40S", "memory": "44Gi"}
    return {"platform": EXISTING, "pools": {"one": {"gpu": card, "max": 2, "nodes": ["gpu-node-1"], **pool}}}


@dataclass(frozen=True, kw_only=True)
class BadInput:
    """``changes`` are dotted paths of the stack file and their values. ``codes`` are the findings that stop the stack,
    ``warnings`` those that only tell; there are no others. ``recorded`` is a model outside the catalogue, recorded
    beside the stack file; ``record`` a text in place of such a file; ``adapter`` an adapter recorded there."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    codes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    recorded: ModelFacts | None = None
    record: str | None = None
    adapter: AdapterFacts | None = None

    def write(self, folder: Path) -> Path:
        """The stack file in ``folder/stacks``, with the model that is recorded beside it."""
        stacks = folder / "stacks"
        stacks.mkdir()
        record = self.record
        if self.recorded is not None:
            record = recorded_models.document("own", self.recorded, date(2026, 11, 28))
        if record is not None:
            (stacks / recorded_models.FOLDER).mkdir()
            (stacks / recorded_models.FOLDER / "own.yaml").write_text(record)
        if self.adapter is not None:
            (stacks / adapters.FOLDER).mkdir()
            text = adapters.document(self.adapter, date(2026, 11, 28))
            (stacks / adapters.FOLDER / "own.yaml").write_text(text)
        return plan_kit.write(stacks, self.sections)

    @property
    def sections(self) -> dict[str, Any]:
        """The whole stack file, keyed without namespace. A model of the catalogue is at the catalogue's commit."""
        good = {"models.eight.id": LLAMA_8B, "models.eight.licenceAccepted": True}
        changes = copy.deepcopy({k: v for k, v in {**good, **self.changes}.items() if v is not REMOVED})
        known = presets.find(str(changes["models.eight.id"])) if "models" not in changes else None
        if known is not None and known.revision is not None:
            changes = {"models.eight.revision": known.revision, **changes}
        document = plan_kit.sections(changes)
        for path in (path for path, value in self.changes.items() if value is REMOVED):
            *steps, last = path.split(".")
            here = document
            for step in steps:
                here = here[step]
            here.pop(last, None)
        return document


def _adapted(
    name: str, *codes: str, warnings: tuple[str, ...] = (), config: Mapping[str, Any] | None = None
) -> BadInput:
    """The model ``eight`` has an adapter. ``config``: how its recorded adapter_config.json differs; None: no record."""
    adapter = {"id": "test/own", "revision": "1" * 40, "rank": 16}
    case = _case(name, *codes, warnings=warnings, adapters={"own": adapter})
    if config is None:
        return case
    whole = {"peft_type": "LORA", "base_model_name_or_path": LLAMA_8B, "r": 16, **config}
    facts = adapters.facts(
        whole, adapter_id="test/own", revision="1" * 40, weight_files=("safetensors",), source="its own files"
    )
    return replace(case, adapter=facts)


def _case(name: str, *codes: str, warnings: tuple[str, ...] = (), **changes: Any) -> BadInput:
    """Keywords change the model ``eight``; ``_`` alone is a mapping of dotted paths."""
    paths = changes.pop("_", {})
    return BadInput(
        name=name,
        changes={**{f"models.eight.{key}": value for key, value in changes.items()}, **paths},
        codes=tuple(f"EBB{code}" for code in codes),
        warnings=tuple(f"EBB{code}" for code in warnings),
    )


def _own(name: str, *codes: str, config: Any = None, facts: Any = None, **changes: Any) -> BadInput:
    """A model of eight billion parameters that is recorded; ``config`` changes its config.json, ``facts`` what else is
    known of it, the other keywords are those of ``_case``."""
    case = _case(name, *codes, **{"id": plan_kit.ID, **changes})
    return replace(case, recorded=replace(plan_kit.facts(**(config or {})), **(facts or {})))


_SECOND = {
    "id": LLAMA_8B, "revision": "0e9e39f249a16976918f6564b8830bc894c89659", "pool": "one", "max": 1, "maxTokens": 2048,
    "licenceAccepted": True,
}  # fmt: skip

CASES = (
    _case("nothing is wrong"),
    _case("nothing is wrong on Azure", _=ON_AZURE),
    _case("nothing is wrong on Google Cloud", _=ON_GCP),
    _case("nothing is wrong on a cluster that is there", _=on_existing()),
    _own("a recorded model that fits"),
    _case("01 no GPUs", "001", gpus=0),
    _case("01 a negative number of GPUs", "001", gpus=-1),
    _case("01 half a GPU", "001", gpus=0.5),
    _case("02 more GPUs than the machine has", "002", gpus=2),
    _case("03 an unknown machine", "003", _={"pools.one.machine": "g5.9xlarge"}),
    _case("04 a machine without GPU", "004", _={"pools.one.machine": "m7i.large"}),
    _case("05 a machine that the region has not", "005", "014",
          _={**ON_AZURE, "pools.one.machine": "Standard_ND96isr_H200_v5"}),
    _case("06 min above max", "006", warnings=("013",), min=3),
    _case("07 a negative min", "007", min=-1),
    _case("07 half a replica", "007", min=0.5),
    _case("08 a model without max", "008", max=REMOVED),
    _case("08 a pool without max", "008", _={"pools.one.max": REMOVED}),
    _case("09 over the stack's own cap", "009", _={"guard.maxDollarsPerHour": 1}),
    _case("10 awake in dev without a reason", "010", warnings=("013",), min=1,
          _={"environment": "dev", "guard.maxGpus": 2}),
    _case("11 a time without unit", "011", idleTtl="20"),
    _case("11 a negative time", "011", idleTtl="-20m"),
    _case("11 no number of minutes", "011", idleTtl=float("nan")),
    _case("12 a timer shorter than the cold start", "012", idleTtl="5m"),
    _case("13 a timer that has no effect", warnings=("013",), min=1, idleTtl="20m"),
    _case(
        "14 an unknown price", "014",
        _={"platform.region": "eu-west-1", "platform.network.zones": ["eu-west-1a", "eu-west-1b"],
           "platform.ingress": REMOVED},
    ),
    _case("15 spot alone in production", "015", _={"pools.one.capacity": "spot"}),
    _case("16 a small disk", "016", weights="16Gi", _={"pools.one.disk": {"size": "30Gi"}}),
    _case("17 a split that leaves GPUs out", "017", "028", tensorParallel=3, gpus=1),
    _case("17 machines that the split leaves out", "017", nodes=2, tensorParallel=1, pipelineParallel=1),
    _case("18 no id of the hub", "018", id="llama"),
    _case("19 a gated licence nobody accepted", "019", licenceAccepted=False),
    _case("20 a branch", "020", revision="main"),
    _case("20 a short commit", "020", revision="0e9e39f"),
    _own("21 GGUF alone", "021", facts={"weight_files": ("gguf",)}),
    _case("22 a pickle alone", "022", id="BAAI/bge-m3", task="embed"),
    _case("22 a pickle in a bucket", "022", id="BAAI/bge-m3", task="embed", allowPickle=True),
    _case("22 a pickle on a claim", "022", id="BAAI/bge-m3", task="embed", _=on_existing()),
    _case("22 with the key that its finding names", id="BAAI/bge-m3", task="embed", allowPickle=True, _=on_existing()),
    _own("22 a recorded model's pickle", "022", facts={"weight_files": ("bin",)}),
    _own("23 code of the model's own", "023", config={
        "architectures": ["NobodyKnowsForCausalLM"], "auto_map": {"AutoModelForCausalLM": "modeling.Nobody"}}),
    _own("24 an unknown architecture", "024", config={"architectures": ["NobodyKnowsForCausalLM"]}),
    _case("25 weights larger than the GPU", "025", id=LLAMA_70B),
    _case("26 a context larger than the GPU", "026", maxTokens=131072),
    _case("27 a context beyond the model's", "026", "027", maxTokens=1_000_000),
    _case("28 GPUs that do not divide the heads", "028", gpus=7, _={"pools.one.machine": "p4d.24xlarge"}),
    _own("29 FP8 on Ampere", warnings=("029",), config={"quantization_config": {"quant_method": "fp8"}}),
    _case("30 bfloat16 on a T4", "025", "030", warnings=("269",), _={"pools.one.machine": "g4dn.xlarge"}),
    _own("31 a base model", "031", facts={"chat_template": False, "task": "base"}),
    _case("32 no share of memory", "032", gpuMemoryUtilization=1.5),
    _case("32 none of the memory", "032", gpuMemoryUtilization=0),
    _case("33 an embedding model on a chat route", "033", id="Qwen/Qwen3-Embedding-0.6B"),
    _case("33 with the key that its finding names", id="Qwen/Qwen3-Embedding-0.6B", task="embed"),
    _case("34 two names that differ in case alone", "034", "035", _={"models.Eight": _SECOND}),
    _case("35 no name of Kubernetes", "035", _={"models.Eight_B": _SECOND}),
    _case("35 a name of 64 letters", "035", _={f"models.{'e' * 64}": _SECOND}),
    _case("36 the model's own name as alias", "036", aliases=["eight"]),
    _case("36 two models with one alias", "036", aliases=["llama"],
          _={"models.second": {**_SECOND, "aliases": ["llama"]}}),
    _case("37 an unknown pool", "037", pool="two"),
    _case("37 a pool whose labels every node has", "037", _={"pools.one.labels": {}}),
    _case("38 a public gateway without keys", "038", _={"platform.ingress.public": True, "gateway.keys": {}}),
    _case("39 a gateway for the whole internet", "039",
          _={"platform.ingress.public": True, "platform.ingress.allowedNetworks": ["0.0.0.0/0"]}),
    _case("39 an API server for the whole internet", "039", _={"platform.cluster.apiAllowedNetworks": ["0.0.0.0/0"]}),
    _case("40 a host without TLS", "040", _={"platform.ingress.certificate": REMOVED}),
    _case("40 a host without TLS on Azure", "040", _={**ON_AZURE, "platform.ingress.certificate": REMOVED}),
    _case("40 a host without TLS on Google Cloud", "040", _={**ON_GCP, "platform.ingress.certificate": REMOVED}),
    _case("40 an address without TLS", "040",
          _={**on_existing(), "platform.ingress": {"url": "http://llm.example.com"}}),
    _case("41 an image by tag", "041", _={"image.base": "registry.example.com/vllm:latest"}),
    _case("42 an image for other processors", "042", _={"image.architecture": "arm64"}),
    _case("42 a machine with other processors", "042", warnings=("063",),
          _={"platform.cluster.systemPool.machine": "m7g.large"}),
    _case("43 a driver older than the image's CUDA", "043",
          _={**ON_AZURE, "pools.one.machine": "Standard_NV36ads_A10_v5"}),
    _case("a version of Kubernetes that EKS has left behind", "066", _={"platform.cluster.version": "1.33"}),
    _case("a version of Kubernetes that AKS has left behind", "066",
          _={**ON_AZURE, "platform.cluster.version": "1.33"}),
    _case("a version of Kubernetes that GKE has left behind", "066",
          _={**ON_GCP, "platform.cluster.version": "1.33"}),
    _case("a window too short for GKE", "189", _={**ON_GCP, "platform.cluster.maintenance": {"hours": 6}}),
    _case("45 a hold longer than a hop's time-out", "045", hold="3h"),
    _case("46 a claim for one node under several", "046",
          _={**on_existing(), "platform.modelStore.accessMode": "ReadWriteOnce"}),
    _case("47 the operator's driver beside one that is there", "047",
          _={**on_existing(nodeImage="ubuntu-22.04"), "gpuLayer.install": "helm",
             "pools.two": {"gpu": {"count": 1}, "max": 1, "nodeImage": "host-driver", "nodes": ["gpu-node-2"]}}),
    _case("48 a token in clear", "048", "050", _={"note": "hf_" + "x" * 34}),
    _case("49 a secret in an argument", "049", extraArgs=["--api-key=correct-horse-battery"]),
    _case("49 a secret in a variable", "049", extraEnv={"HF_TOKEN": "correct-horse-battery"}),
    _case("50 an unknown key", "050", idleTtll="20m"),
    _case("51 a flag that the product sets", "051", extraArgs=["--max-model-len=1"]),
    _case("51 a variable that the product sets", "051", extraEnv={"VLLM_CACHE_ROOT": "/tmp"}),
    _case("52 the engine's development mode", "052", extraEnv={"VLLM_SERVER_DEV_MODE": "1"}),
    _case("52 the engine's profiler", "052", extraEnv={"VLLM_TORCH_PROFILER_DIR": "/tmp"}),
    _case("52 a tool server", "052", extraArgs=["--tool-server=demo"]),
    _case("53 an engine below the floor", "053", warnings=("060",),
          _={"image.base": "registry.example.com/vllm:v0.21.3@sha256:" + "ab" * 32}),
    _case("56 no models", _={"models": {}}),
    _case("EBB044 a taint that throws pods out", "044",
          _=on_existing(taints=[{"key": "team", "value": "a", "effect": "NoExecute"}])),
    _case("EBB057 more GPUs than the environment allows", "057", _={"pools.one.max": 129, "environment": "prod"}),
    _case("EBB058 dearer than the environment allows", "058", _={"pools.one.pricePerHour": 900.0}),
    _case("EBB059 idle for a day in dev", "059", idleTtl="24h", _={"environment": "dev"}),
    _case("EBB060 a flag that is on no list", warnings=("060",), extraArgs=["--tool-parser-pl=/tmp/x.py"]),
    _case("EBB060 a variable that is on no list", warnings=("060",), extraEnv={"VLLM_PLUGINS": "x"}),
    _case("EBB061 a dear system pool", "061",
          _={"platform.cluster.systemPool": {"machine": "r7i.2xlarge", "min": 2, "max": 20}}),
    _case("EBB062 many system nodes", "062",
          _={"platform.cluster.systemPool": {"machine": "m7i.large", "min": 2, "max": 21}}),
    _case("EBB063 a system machine without a price", warnings=("063",),
          _={"platform.cluster.systemPool.machine": "m7i.48xlarge"}),
    _case("EBB064 no cap", warnings=("064",), _={"guard.maxDollarsPerHour": None}),
    _case("EBB065 local in a cloud", "065", _={"environment": "local"}),
    _case("EBB207 a price under the catalogue's", warnings=("207",), _={"pools.one.pricePerHour": 1.0}),
    _case("EBB207 a price that nobody pays", "207", _={"pools.one.pricePerHour": 0.01}),
    _case("EBB208 a price that nobody can look up", warnings=("208",),
          _={"pools.one": {"machine": "p5e.48xlarge", "max": 1, "pricePerHour": 40.0}}),
    _case("EBB209 a pool without nodes", "209", _={"pools.one.max": 0, "models.eight.max": 1}),
    _case("EBB240 a card that the image has no code for", "240",
          _=on_existing(gpu={"count": 1, "product": "V100-32GB"})),
    _own("EBB241 nobody knows whether it is gated", warnings=("241",), licenceAccepted=False,
         facts={"gated": None, "disk_bytes": None}),
    _own("EBB242 blocks that are cut", "242", gpus=4, _={"pools.one.machine": "g6.12xlarge"}, config={
        "intermediate_size": 11008,
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}),
    _own("EBB243 a family that float16 breaks", "243", dtype="float16",
         config={"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2"}),
    _own("EBB244 a chat template that nobody looked up", warnings=("244",),
         facts={"chat_template": None, "task": None}),
    _case("EBB245 a model that makes images", "245", id="black-forest-labs/FLUX.1-schnell"),
    _case("EBB246 a chat model for embeddings", warnings=("246",), task="embed"),
    _own("EBB247 a method without its plugin", "247",
         config={"quantization_config": {"quant_method": "bitsandbytes"}}),
    _own("EBB248 a method that does not split", "248", warnings=("060",), gpus=4,
         _={"pools.one.machine": "g5.12xlarge", "image.extraPackages": ["vllm-bnb-plugin==1.0.0"]},
         config={"quantization_config": {"quant_method": "bitsandbytes"}}),
    _own("EBB249 a method that needs newer cards", "249", gpus=4, dtype="float16",
         _={"pools.one.machine": "g4dn.12xlarge"}, config={"quantization_config": {"quant_method": "mxfp4"}}),
    _case("EBB250 a model that nobody knows", warnings=("250",), id="test/eight"),
    _case("EBB251 a card of unknown memory", warnings=("251",), _=on_existing(gpu={"count": 1})),
    _case("EBB252 a flag that changes memory unseen", warnings=("252",), extraArgs=["--cpu-offload-gb=4"]),
    _case("EBB253 a card for two that one fills", "253", warnings=("269",),
          _={"pools.one.sharing": {"timeSlicing": {"replicas": 2}}, "pools.one.machine": "g6e.xlarge"}),
    _case("EBB254 another commit than the facts'", warnings=("254",), revision="1" * 40),
    _own("EBB255 weights said to be small", warnings=("255",), weights="4Gi", facts={"disk_bytes": 15 * 2**30}),
    _case("EBB256 a wait for the guard and the wake", warnings=("256",),
          _={"guard.whenFull": "wait", "guard.waitLimit": "60m"}),
    _case("EBB257 a cold start shorter than a wake", warnings=("257",), coldStart="1m", idleTtl="20m"),
    _adapted("EBB281 an adapter that nobody recorded", warnings=("281",)),
    _adapted("EBB282 an adapter of another model", "282", config={"base_model_name_or_path": "Qwen/Qwen3-8B"}),
    _adapted("EBB283 a rank that is not the adapter's", "283", config={"r": 32}),
    _adapted("EBB284 an adapter with what the engine refuses", "284", config={"use_dora": True}),
    _adapted("nothing is wrong with an adapter of its model", config={}),
    _own("EBB262 a family that nobody has counted", warnings=("262",),
         config={"architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2"}),
    _case("EBB263 a cache that no kernel keeps", "263", extraArgs=["--kv-cache-dtype=fp8"],
          _={"pools.one.machine": "g4dn.12xlarge", "models.eight.dtype": "float16", "models.eight.gpus": 4}),
    _case("EBB264 an engine that leaves its card to nobody", "264", gpuMemoryUtilization=0.95,
          _={"pools.one.sharing": {"turns": {"models": 4}}, "pools.one.machine": "g6e.xlarge"}),
    _case("EBB265 sleeping weights that fill the machine", warnings=("265", "269"), gpuMemoryUtilization=0.8,
          _={"pools.one.sharing": {"turns": {"models": 2}}, "pools.one.machine": "g5.xlarge"}),
    _case("EBB070 a pattern of hosts", "070", mediaDomains=["*.example.com"]),
    _case("EBB070 a host of the cluster's own", "070", mediaDomains=["kubernetes.default.svc"]),
    _case("EBB070 an address", "070", mediaDomains=["10.0.0.1"]),
    _case("51 a flag for media that has a key of its own", "051", extraArgs=["--allowed-media-domains=example.com"]),
    _case("nothing is wrong with a host for images", mediaDomains=["images.example.com"]),
    _case("EBB069 a flag that the engine no longer has", "069", warnings=("060",), extraArgs=["--swap-space=4"]),
    _case("EBB067 a flag that needs another", "067", warnings=("060",), extraArgs=["--enable-log-outputs"]),
    _case("EBB068 a file that the pod has not", "068", warnings=("060",), extraArgs=["--log-config-file=/own.json"]),
    _case("EBB144 a preset that nobody knows", "144", _={"models.eight.preset": "lama-3.1-8b"}),
    _case("EBB145 a preset beside another model's id", "145",
          _={"models.eight.preset": "qwen3-8b", "models.eight.revision": REMOVED}),
    _case("EBB146 a parser that the engine lacks", "146", toolCalling="hermse"),
    _case("EBB147 tools for a model not for chat", "147", warnings=("246",), task="embed", toolCalling=True),
    _case("EBB148 a chat template that is not there", "148", chatTemplate="templates/none.jinja"),
    _case("EBB149 a quantization of experts for a model without", "149", quantization="int8_per_channel_weight_only"),
    _own("EBB267 more sequences than states have room for", "267", maxSequences=256,
         config={"full_attention_interval": 4, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
                 "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4}),
    _case("EBB280 a chat model that is to score", warnings=("280",), task="rerank"),
    _case("EBB269 a machine that loading fills", warnings=("269",), _={"pools.one.machine": "g5.xlarge"}),
    _case("EBB268 a card said to be larger than it is", warnings=("268",),
          _=on_existing(gpu={"count": 1, "product": "L40S", "memory": "48Gi"})),
    replace(_case("EBB266 a record that cannot be read", "266"), record="models: [nothing of this kind\n"),
)  # fmt: skip
