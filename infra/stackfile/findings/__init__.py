"""Findings about a stack file, how they are shown, and what a waiver allows for a while."""
