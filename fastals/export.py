"""Public name of ``fastals.serving.vector_search``."""

from fastals.serving.vector_search import augmented_item_factors, augmented_queries

__all__ = ["augmented_item_factors", "augmented_queries"]
