"""Google Cloud: a private GKE cluster with GPU node pools from zero, made or adopted by name.

Nothing is imported here: ``settings`` and ``judge`` load without the provider's SDK, ``platform`` needs it.
"""
