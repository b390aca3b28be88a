"""What a stack asks for, recorded without an engine, a plug-in, credentials or a network."""
