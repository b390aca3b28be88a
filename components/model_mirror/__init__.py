"""Weights copied from the Hugging Face hub into the stack's own store, each model once for each revision."""

from components.model_mirror.mirror import ModelMirror
from components.model_mirror.settings import MirroredModel, MirrorSettings, TokenSecret

__all__ = ["MirrorSettings", "MirroredModel", "ModelMirror", "TokenSecret"]
