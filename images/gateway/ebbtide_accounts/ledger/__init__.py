"""Ledger: what nodes cost, charged to those who used them. Exact arithmetic on plain values, without a database."""
