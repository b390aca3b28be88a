"""The mirror: copies one model, at one revision, from the Hugging Face hub into the stack's model store."""
