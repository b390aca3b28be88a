"""Ebbtide as a component package, for other teams' programs in any of Pulumi's languages."""
