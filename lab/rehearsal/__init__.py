"""The cluster of a rehearsal: a real API server, controllers and scheduler, simulated nodes, and a real autoscaler that
adds and removes them. Its parts are plain processes on loopback; none outlives ``stop``."""
