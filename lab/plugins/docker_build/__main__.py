"""Program that the engine starts through the launcher ``pulumi-resource-docker-build``."""

from lab.plugins import rehearsal
from lab.plugins.docker_build.provider import DockerBuildStandIn, RecordedImages
from lab.plugins.process import serve

serve(RecordedImages if rehearsal.current() else DockerBuildStandIn)
