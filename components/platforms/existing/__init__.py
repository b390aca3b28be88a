"""A cluster that others run, named by its kubeconfig and context."""
