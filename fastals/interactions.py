"""Public names of ``fastals.tables``: interactions, and features from tables."""

from fastals.tables.features import FeatureTable
from fastals.tables.interactions import Duplicates, Interactions

__all__ = ["Duplicates", "FeatureTable", "Interactions"]
