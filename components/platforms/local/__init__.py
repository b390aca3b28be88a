"""The local place: the cluster that ``ebbtide local up`` keeps on this machine."""
