"""A Kubernetes made from its parts in namespaces of this machine: Linux, root, no Docker."""
