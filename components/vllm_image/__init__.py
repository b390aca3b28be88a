"""The engine's image: built from ``images/vllm``, pushed to the place's registry, named by digest."""

from components.vllm_image.image import VllmImage

__all__ = ["VllmImage"]
