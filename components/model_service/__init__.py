"""One model's serving stack on Kubernetes: engine arguments, workload, probes, network, namespace."""
