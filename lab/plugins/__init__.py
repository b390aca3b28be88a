"""Stand-ins for the Pulumi plugins that a machine with only package registries cannot fetch.

Everything here is a stand-in, not the official plugin, and says so in its version (``…+stand-in``), in its first log
line where it has one, and in its launcher. Where Pulumi's releases can be reached none of them is used, except
docker-build where no Docker runs. The Kubernetes provider is not among them: Pulumi's own is built
(`lab.toolchain.kubernetes_provider`).

================================  ===========================================================================
launcher                          stands in for
================================  ===========================================================================
``pulumi-language-python``        the Python language host (`language_python`): runs the program and policy packs
``pulumi-resource-random``        the random provider (`random_values`): RandomPassword, RandomString, RandomId
``pulumi-resource-docker-build``  the docker-build provider (`docker_build`): Image, built and pushed by buildah
================================  ===========================================================================

Shared by all: `properties` (values on the wire), `infra.gate.replacement.differences` (what changed), `plugin`
(plain methods), `wire` (gRPC) and `process`.
"""

from lab.plugins.launchers import install

__all__ = ["install"]
