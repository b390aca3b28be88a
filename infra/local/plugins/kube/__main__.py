"""Started by the engine through the launcher ``pulumi-resource-kubernetes``."""

from infra.local.plugins import rehearsal
from infra.local.plugins.kube.provider import KubernetesStandIn
from infra.local.plugins.plugin import Engine, StandIn
from infra.local.plugins.process import serve


def provider(engine: Engine) -> StandIn:
    """In a rehearsal without charts, one that writes releases down."""
    now = rehearsal.current()
    if now is None or "charts" not in now.recorded:
        return KubernetesStandIn(engine)
    # reads the SDK's types, which nobody else needs
    from infra.local.plugins.kube.release import WithRecordedReleases

    return WithRecordedReleases(engine, now)


serve(provider)
