"""Settings of the gateway and the wake keeper for a stack's models. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from components.embedded_database import LABELS as DATABASE_LABELS
from components.embedded_database import SECRET as DATABASE_SECRET
from components.embedded_database import DatabaseSettings
from components.gateway.config import (
    ApiKey,
    Database,
    GatewaySettings,
    Group,
    Keeper,
    PaidPool,
    RoutedModel,
    UsageLimits,
    WakeGuard,
    WarmHours,
)
from components.idle_scaling.addresses import host_of
from components.idle_scaling.timing import rhythm
from components.platforms.contract import Ingress, Pool
from components.platforms.kinds import KINDS
from components.pods import of_namespace
from components.wake_keeper import KeeperSettings, KeptModel, access
from infra.stackfile.node_price import node_price
from infra.stackfile.schema import stack as stackfile
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.stack import DatabaseConfig, StackConfig
from infra.stackfile.timeouts import longest_silence_seconds

MODELS = "ebbtide-models"
GATEWAY = "ebbtide"
_INSIDE = Ingress()


def wake_price(stack: StackConfig, model: ModelConfig) -> float | None:
    """Return the cost an hour of one replica's machines, on its most expensive pool; None if any pool's price is
    unknown."""
    prices = [node_price(stack.pools[name], stack.platform.region).paid for name in model.pools]
    known = [price for price in prices if price is not None]
    return max(known) * model.nodes if len(known) == len(prices) else None


def gateway_settings(
    stack: StackConfig,
    interceptor_url: str,
    interceptor_namespace: str,
    ingress: Ingress = _INSIDE,
    wakes: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    pools: Mapping[str, Pool] = MappingProxyType({}),
) -> GatewaySettings:
    """Return the gateway's settings: who may ask which model, where it sends the request, and what it owes to what
    stands before it. ``wakes``: by model, how long each phase of a wake should take. ``pools``: as the place has them.
    """
    guard, asked_as = stack.guard, stack.asked_as
    return GatewaySettings(
        interceptor_url=interceptor_url,
        models=[
            RoutedModel(
                name=model.name,
                host=host_of(model.name, MODELS),
                gpus=model.replica_gpus,
                hold_seconds=model.hold.seconds,
                aliases=model.aliases,
                usd_per_hour=wake_price(stack, model),
                by_prefix=model.routing == "prefix",
                # full engines would refuse every request beyond these
                most_waiting=model.max * (model.max_sequences + model.max_queued) or None,
                # an engine counts each of a request's sequences as one
                most_sequences=model.max_sequences + model.max_queued or None,
                cold_start_seconds=model.cold_start.seconds,
                wake_seconds=wakes.get(model.name, {}),
                task=model.task,
                context_tokens=model.max_tokens,
                longer=model.long_prompts,
                asked_as=asked_as.get(model.name),
                adapters={name: adapter.id for name, adapter in model.adapters.items()},
                hot_adapters=model.hot_adapters.max if model.hot_adapters else 0,
                batch_at_once=batch_at_once(stack, model),
                takes_turns=model.pool in pools and pools[model.pool].turns,
            )
            for model in stack.models.values()
        ],
        groups={
            name: Group(
                group.models,
                group.wake,
                limits(group),
                load_adapters=group.load_adapters,
                admin=group.admin,
            )
            for name, group in stack.gateway.groups.items()
        },
        keys=[ApiKey(name, key.group, key.sha256, limits(key)) for name, key in stack.gateway.keys.items()],
        guard=WakeGuard(
            guard.max_gpus,
            guard.max_instances,
            guard.when_full,
            guard.wait_limit.seconds if guard.wait_limit else None,
        ),
        namespace=GATEWAY,
        models_namespace=MODELS,
        interceptor_namespace=interceptor_namespace,
        replicas=stack.gateway_replicas,
        silence_seconds=every.seconds if (every := stack.gateway.comment_every) else GatewaySettings.silence_seconds,
        leave_seconds=ingress.leave_seconds,
        shutdown_seconds=longest_silence_seconds(stack),
        groups_of_pods=stack.has_groups,
        cors_origins=stack.gateway.cors.origins,
        keeper=Keeper(access.url(GATEWAY), access.LABELS, access.PORT) if shares_counts(stack) else None,
        database=_with_ledger(stack, pools),
    )


def limits(holder: stackfile.UsageLimits) -> UsageLimits:
    """Return the limits of a group or a key as the gateway takes them."""
    return UsageLimits(**{name: getattr(holder, name) for name in stackfile.UsageLimits.model_fields})


def database(config: DatabaseConfig) -> Database | None:
    """Return where the gateway finds its database, and where alone it is let look for it; None if there is none."""
    away, days = config.limits_while_away, config.usage_days
    if config.kind == "embedded":
        # from pod to pod of one namespace, under policies that let nobody else in
        pods = [{"podSelector": {"matchLabels": DATABASE_LABELS}}]
        return Database(secret=DATABASE_SECRET, to=pods, tls="off", limits_while_away=away, usage_days=days)
    if config.kind != "existing" or config.secret is None:
        return None
    networks = [{"ipBlock": {"cidr": network}} for network in config.networks]
    to = networks if config.namespace is None else [of_namespace(config.namespace)]
    return Database(
        secret=config.secret, to=to, port=config.port, tls=config.tls, limits_while_away=away, usage_days=days
    )


def batch_at_once(stack: StackConfig, model: ModelConfig) -> int | None:
    """Return how many lines of batches one gateway may have in a model at once: together they leave half of an engine's
    sequences to people. None: the stack has no batches.
    """
    if database(stack.database) is None:
        return None
    return max(1, model.max_sequences // 2 // stack.gateway_replicas)


def _with_ledger(stack: StackConfig, pools: Mapping[str, Pool]) -> Database | None:
    """Return the database with what its ledger has to know: prices of nodes, and who is kept warm."""
    plain = database(stack.database)
    return None if plain is None else replace(plain, pools=paid_pools(stack, pools), warm=warm_hours(stack))


def paid_pools(stack: StackConfig, pools: Mapping[str, Pool]) -> list[PaidPool]:
    """Return what a node of each pool costs. It stands where the place makes none, or where the pool has no fewer."""
    return [
        PaidPool(
            name=name,
            labels=pool.labels,
            gpu_resource=pool.gpu_resource,
            usd_per_hour=node_price(stack.pools[name], stack.platform.region).paid,
            standing=not KINDS[stack.platform.kind].makes_nodes or pool.min_nodes >= pool.max_nodes,
        )
        for name, pool in sorted(pools.items())
    ]


def warm_hours(stack: StackConfig) -> list[WarmHours]:
    """Return when the stack file keeps which models: by ``min`` always, and by their schedules."""
    always = [WarmHours(model=model.name, replicas=model.min) for model in stack.models.values() if model.min]
    scheduled = [
        WarmHours(
            model=model.name,
            replicas=window.replicas,
            days=sorted(window.days),
            start=window.start,
            end=window.end,
            timezone=window.timezone,
            ahead=window.ahead,
        )
        for model in stack.models.values()
        for window in model.windows
    ]
    return [*always, *scheduled]


def embedded_database(stack: StackConfig) -> DatabaseSettings | None:
    """Return the settings of the database that the stack itself runs; None if it runs none."""
    config = stack.database
    if config.kind != "embedded":
        return None
    return DatabaseSettings(
        namespace=GATEWAY,
        storage_bytes=config.storage.bytes,
        storage_class=config.storage_class,
        image=config.image,
        protect=stack.protect,
    )


def caps_wakes(stack: StackConfig) -> bool:
    """Return True if any group or key has a limit of wakes per day, or may get one while the stack runs."""
    return any("max_wakes_per_day" in each.limited for each in holders(stack)) or database(stack.database) is not None


def holders(stack: StackConfig) -> list[stackfile.UsageLimits]:
    """Return all that may have limits in the stack file."""
    return [*stack.gateway.groups.values(), *stack.gateway.keys.values()]


def shares_counts(stack: StackConfig) -> bool:
    """Return True if a gateway pod must know what groups and keys use in other pods: today's wakes also in pods that
    are gone. Sums of a day's or a month's tokens are the database's.
    """
    several = stack.gateway_replicas > 1
    shared = {"requests_per_minute", "tokens_per_minute", "concurrent_requests"}
    return caps_wakes(stack) or (several and any(shared & each.limited for each in holders(stack)))


def turn_seconds(stack: StackConfig, model: ModelConfig) -> int | None:
    """Return how long the model keeps its card while another waits for it; None if the card is its own."""
    sharing = stack.pools[model.pool].sharing
    return None if sharing is None or sharing.turns is None else sharing.turns.turn.seconds


def keeper_settings(stack: StackConfig, platform_kind: str) -> KeeperSettings:
    """Return the wake keeper's settings: how long each model's load may take, and whether a node for it may still come.
    The replica of a LeaderWorkerSet that goes first cannot be chosen: it is the last.
    """
    growable = KINDS[platform_kind].makes_nodes
    return KeeperSettings(
        models=[
            KeptModel(
                name=model.name,
                hold_seconds=model.hold.seconds,
                cold_start_seconds=model.cold_start.seconds,
                growable=growable,
                counted=model.queue_target is not None,
                turn_seconds=turn_seconds(stack, model),
                sleep_seconds=model.sleep_ttl.seconds if model.sleep_ttl else None,
                scales_in=model.max > 1 and model.nodes == 1,
                machines=model.nodes,
            )
            for model in stack.models.values()
        ],
        namespace=GATEWAY,
        models_namespace=MODELS,
        recent_seconds=rhythm(len(stack.models)).window_seconds,
        remembers_wakes=caps_wakes(stack),
    )
