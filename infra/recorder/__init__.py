"""Recorder of the resources a stack asks for: without an engine, a plug-in, credentials or a network."""
