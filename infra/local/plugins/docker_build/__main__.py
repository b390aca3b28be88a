"""Started by the engine through the launcher ``pulumi-resource-docker-build``."""

from infra.local.plugins import rehearsal
from infra.local.plugins.docker_build.provider import DockerBuildStandIn, RecordedImages
from infra.local.plugins.process import serve

serve(RecordedImages if rehearsal.current() else DockerBuildStandIn)
