"""What the gateway and the wake keeper share of the cluster: its API, copies of its objects, failures of wakes."""
