"""Properties of a resource that cannot change in place: the providers' data, and the diff of two sets of inputs."""
