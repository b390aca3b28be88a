"""Stand-in for the docker-build provider: `Image`, built by buildah without a daemon and pushed to a registry.

Inputs that need BuildKit are refused by name. Two environment variables let the machine that builds add what only it
knows, without a trace in the program or its state: ``EBBTIDE_BUILD_VOLUMES`` (``host:container[:ro]``, comma
separated, mounted in every RUN: a CA bundle, a download cache) and ``EBBTIDE_BUILD_ENV_ARGS`` (names of environment
variables, comma separated, that are passed as build arguments where they are set).
"""
