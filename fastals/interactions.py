"""Public name of ``fastals.tables.interactions``."""

from fastals.tables.interactions import Duplicates, Interactions

__all__ = ["Duplicates", "Interactions"]
