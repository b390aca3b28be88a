"""The GPU software of a cluster's nodes: what a node image brings, and what NVIDIA's GPU operator adds to it."""
