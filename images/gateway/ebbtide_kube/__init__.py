"""Cluster access shared by the gateway and the wake keeper: its API, copies of its objects, failures of wakes."""
