"""Started by the engine through the launcher ``pulumi-resource-docker-build``."""

from infra.local.plugins.docker_build.provider import DockerBuildStandIn
from infra.local.plugins.process import serve

serve(DockerBuildStandIn)
