"""Recorded graphs as Terraform's configuration, so that a cloud's own Terraform provider can be asked for them."""
