"""Everything after the place: image, idle scaling, one service per model, the gateway. Knows no cloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pulumi

from components.catalog.versions import pinned
from components.embedded_database import EmbeddedDatabase
from components.gateway.access import LABELS as GATEWAY_LABELS
from components.gateway.gateway import Gateway
from components.gpu_layer.gpu_layer import GpuLayer, gpu_pools
from components.idle_scaling.engine import IdleScalingEngine
from components.idle_scaling.policy import IdlePolicy, IdleScalingPolicy
from components.idle_scaling.settings import EngineSettings, one_image
from components.idle_scaling.timing import rhythm
from components.leader_worker_set.controller import LeaderWorkerSetController
from components.model_mirror import MirroredModel, MirrorSettings, ModelMirror, TokenSecret
from components.model_service.namespace import ModelNamespace, instance_class
from components.model_service.network import Peer
from components.model_service.service import ModelService
from components.model_service.settings import Adapter, HotAdapters, ModelSettings
from components.model_service.workload import API as GROUP_API
from components.model_service.workload import KIND as GROUP_KIND
from components.model_service.workload import Placement
from components.platforms.contract import ModelStore, Platform
from components.platforms.local.facts import LocalFacts
from components.vllm_image import VllmImage
from components.wake_keeper import WakeKeeper
from components.wake_keeper.access import LABELS as KEEPER_LABELS
from components.wake_keeper.access import load_url, waiting_url
from infra.planner.cold_path import observed_phases
from infra.planner.plan import Plan
from infra.program import platform as place
from infra.program.gateway import GATEWAY, MODELS, embedded_database, gateway_settings, keeper_settings
from infra.stackfile import chat_templates
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.stack import StackConfig
from infra.workspace import PROJECT

STREAMER, STREAMER_FORMAT = "runai-model-streamer", "runai_streamer"


@dataclass(frozen=True)
class Served:
    """The outputs that the stack exports."""

    endpoint: pulumi.Output[str]
    api_keys: Mapping[str, pulumi.Output[str]]
    images: Mapping[str, pulumi.Output[str]]


def model_settings(model: ModelConfig, store: ModelStore, asked_as: str | None = None) -> ModelSettings:
    """Return the stack file's model as the component's settings. ``store`` has its adapters; ``asked_as``: whose long
    prompts it takes."""
    tools, thoughts = model.parsers
    return ModelSettings(
        name=model.name,
        model_id=model.id,
        revision=model.revision,
        gpus=model.gpus,
        nodes=model.nodes,
        tensor_parallel=model.tensor_parallel,
        pipeline_parallel=model.pipeline_parallel,
        min_replicas=model.min,
        max_replicas=model.max,
        aliases=model.aliases,
        asked_as=asked_as,
        max_tokens=model.max_tokens,
        max_sequences=model.max_sequences,
        max_queued=model.max_queued,
        gpu_memory_utilization=model.gpu_memory_utilization,
        kv_cache_bytes=model.kv_cache.bytes if model.kv_cache else None,
        dtype=model.dtype,
        media_domains=model.media_domains,
        # by name: an engine sorts the keys of a stack's configuration, a file has them in its own order
        adapters=tuple(
            Adapter(name=name, rank=adapter.rank, weights=store.weights(adapter.id, adapter.revision).path)
            for name, adapter in sorted(model.adapters.items())
        ),
        hot_adapters=_hot_adapters(model, store),
        adapter_slots=model.slots,
        task=model.task,
        engine=model.engine,
        tool_parser=tools,
        reasoning_parser=thoughts,
        chat_template=chat_templates.read(PROJECT / "stacks", model.chat_template) if model.chat_template else None,
        quantization=model.quantization,
        cold_start_seconds=model.cold_start.seconds,
        hold_seconds=model.hold.seconds,
        drain_seconds=model.drain.seconds,
        stall_seconds=model.stall.seconds,
        extra_args=model.extra_args,
        extra_env=dict(model.extra_env),
    )


def _hot_adapters(model: ModelConfig, store: ModelStore) -> HotAdapters | None:
    """Return the room for adapters that a call loads. The store has them as it has the files of a model
    ``adapters/MODEL``, each in a folder of its own."""
    hot = model.hot_adapters
    if hot is None:
        return None
    return HotAdapters(count=hot.max, rank=hot.max_rank, folder=store.weights(f"adapters/{model.name}", "loaded").path)


def idle_policy(stack: StackConfig, model: ModelConfig) -> IdlePolicy:
    """Return the policy that says when the model runs."""
    policy = IdlePolicy(
        name=model.name,
        namespace=MODELS,
        min_replicas=model.min,
        max_replicas=model.max,
        idle_ttl_seconds=model.idle_ttl.seconds,
        cold_start_seconds=model.cold_start.seconds,
        hold_seconds=model.hold.seconds,
        concurrency_target=model.concurrency_target,
        load_url=load_url(GATEWAY, model.name),
        windows=model.windows,
        waiting_target=model.queue_target,
        waiting_url=waiting_url(GATEWAY, model.name),
        rhythm=rhythm(len(stack.models)),
    )
    return replace(policy, target_api=GROUP_API, target_kind=GROUP_KIND) if model.nodes > 1 else policy


def engine_settings(stack: StackConfig, facts: LocalFacts | None) -> EngineSettings:
    """Return how KEDA is installed, and how long its interceptor must be able to drain: the longest hold and drain."""
    drain = max((m.hold.seconds + m.drain.seconds for m in stack.models.values()), default=600)
    common: dict[str, Any] = {
        "install": stack.idle_scaling.install,
        "drain_seconds": drain,
        "push_milliseconds": rhythm(len(stack.models)).push_milliseconds,
    }
    if stack.idle_scaling.install == "manifests":
        if facts is None or facts.keda_manifests_dir is None or facts.keda_image is None:
            raise pulumi.RunError(
                "idleScaling.install: manifests needs the manifests that `ebbtide local up` renders; allowed without "
                "them: helm, existing"
            )
        common |= {"manifests": Path(facts.keda_manifests_dir), "programs": one_image(facts.keda_image)}
    return EngineSettings(**common)


def gpu_layer(stack: StackConfig, platform: Platform) -> list[pulumi.Resource]:
    """Install NVIDIA's software on the nodes if the stack is to install it; models wait for it."""
    if stack.gpu_layer_install != "helm":
        return []
    pools = gpu_pools(platform.kind, place.requests(stack), platform.pools)
    opts = pulumi.ResourceOptions(providers=[platform.provider], depends_on=list(platform.ready))
    return [GpuLayer("gpu-operator", pools, opts=opts)]


def group_controller(stack: StackConfig, after_place: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """Install LeaderWorkerSet's controller if some model needs it and the cluster has none; models wait for it."""
    if not stack.has_groups or stack.leader_worker_set.install != "helm":
        return []
    return [LeaderWorkerSetController("leader-worker-set", after_place)]


def mirror_models(stack: StackConfig, platform: Platform, store: Sequence[pulumi.Resource]) -> None:
    """Fill the place's store with models and adapters if the stack may. Nothing waits for it: weights may be large.

    A branch or tag, which needs a waiver, is not copied: the folder is written once, the commit may differ tomorrow.
    """
    upload = platform.model_store.upload
    models = tuple(
        MirroredModel(each.id, each.revision, token=TokenSecret(model.hub_token) if model.hub_token else None)
        for model in stack.models.values()
        for each in model.all_weights
        if each.is_pinned
    )
    if upload is None or not models:
        return
    opts = pulumi.ResourceOptions(providers=[platform.provider], depends_on=[*platform.ready, *store])
    ModelMirror("mirror", MirrorSettings(models), upload, platform.registry, opts)


def store_packages(stack: StackConfig, platform: Platform) -> tuple[str, ...]:
    """Return the packages the engine needs to read the place's store itself, unless the stack names its own version."""
    formats = {platform.model_store.weights(m.id, m.revision).load_format for m in stack.models.values()}
    named = {package.partition("==")[0].partition("[")[0] for package in stack.image.extra_packages}
    if STREAMER_FORMAT not in formats or STREAMER in named:
        return ()
    return (pinned(STREAMER).requirement(STREAMER),)


def wake_estimates(plan: Plan) -> Mapping[str, Mapping[str, float]]:
    """Return how long each phase of a model's wake should take by the plan, by model."""
    return {model.name: observed_phases(model.cold) for model in plan.models}


def serve(
    stack: StackConfig, platform: Platform, facts: LocalFacts | None, wakes: Mapping[str, Mapping[str, float]]
) -> Served:
    """Build what serves the stack's models on ``platform``. ``wakes``: by model, how long each phase of a wake should
    take."""
    after_place = pulumi.ResourceOptions(providers=[platform.provider], depends_on=list(platform.ready))
    layer = gpu_layer(stack, platform)
    engine = IdleScalingEngine("idle-scaling", engine_settings(stack, facts), after_place)
    controller = group_controller(stack, after_place)
    namespace = ModelNamespace(
        "models",
        MODELS,
        stack.gpu_quota,
        stack.guard.max_instances,
        {pool.gpu_resource for pool in platform.pools.values()},
        platform.identity.service_account_annotations,
        platform.registry.pull_secret,
        after_place,
    )
    in_models = pulumi.ResourceOptions(provider=platform.provider, depends_on=[namespace])
    store = platform.model_store.prepare(MODELS, in_models) if stack.models else []
    mirror_models(stack, platform, store)
    devices = sorted({platform.pools[m.pool].device for m in stack.models.values()})
    packages = (*stack.image.extra_packages, *store_packages(stack, platform))
    images = {
        d: VllmImage(f"vllm-{d}", platform.registry, d, packages, architecture=stack.image.architecture)
        for d in devices
    }
    before_models = [namespace, *store, *layer, *controller]
    callers = [
        Peer(engine.settings.namespace, engine.settings.interceptor_pod_labels()),
        Peer(GATEWAY, GATEWAY_LABELS),
    ]
    keeper = Peer(GATEWAY, KEEPER_LABELS)
    for model in stack.models.values():
        pool = platform.pools[model.pool]
        service = ModelService(
            model.name,
            model_settings(model, platform.model_store, stack.asked_as.get(model.name)),
            Placement(
                namespace=MODELS,
                pool=pool,
                image=images[pool.device].ref,
                weights=platform.model_store.weights(model.id, model.revision),
                pod_labels=platform.identity.pod_labels,
                fallbacks=tuple(platform.pools[name] for name in model.fallback_pools),
                priority_class=instance_class(MODELS) if stack.guard.max_instances is not None else None,
            ),
            [*callers, keeper] if model.queue_target is not None or pool.turns else callers,
            opts=pulumi.ResourceOptions(providers=[platform.provider], depends_on=before_models),
        )
        IdleScalingPolicy(
            model.name,
            idle_policy(stack, model),
            engine.scaler_address,
            [engine, namespace, service],
            pulumi.ResourceOptions(providers=[platform.provider]),
        )
    gateway = Gateway(
        "gateway",
        gateway_settings(stack, engine.url, engine.settings.namespace, platform.ingress, wakes, platform.pools),
        platform.registry,
        platform.ingress,
        # its load balancer must be deleted before the parts of the place that made it
        pulumi.ResourceOptions(providers=[platform.provider], depends_on=[engine, namespace, *platform.ready]),
    )
    if (database := embedded_database(stack)) is not None:
        EmbeddedDatabase(
            "database",
            database,
            GATEWAY_LABELS,
            platform.registry.pull_secret,
            # after the gateway, which makes the namespace and answers without
            pulumi.ResourceOptions(providers=[platform.provider], depends_on=[gateway]),
        )
    WakeKeeper(
        "wake-keeper",
        keeper_settings(stack, platform.kind),
        gateway.image,
        platform.registry.pull_secret,
        pulumi.ResourceOptions(providers=[platform.provider], depends_on=[gateway, engine, namespace]),
    )
    return Served(
        gateway.endpoint, gateway.api_keys, {"gateway": gateway.image, **{d: i.ref for d, i in images.items()}}
    )
