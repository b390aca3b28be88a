"""A cluster that somebody else runs, named by its kubeconfig and context."""
