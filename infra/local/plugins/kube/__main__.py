"""Started by the engine through the launcher ``pulumi-resource-kubernetes``."""

from infra.local.plugins.kube.provider import KubernetesStandIn
from infra.local.plugins.process import serve

serve(KubernetesStandIn)
