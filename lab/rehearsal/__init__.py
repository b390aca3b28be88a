"""The cluster of a rehearsal: a real API server, controllers and scheduler, nodes that are only told to exist, and a
real autoscaler that brings and takes them. Its parts are plain processes on loopback; none outlives ``stop``."""
