"""Exact implicit-feedback alternating least squares (Hu, Koren, Volinsky 2008), compiled with Numba."""

from fastals.core.parameters import NotFittedError
from fastals.core.validation import UnknownIdError
from fastals.model import ImplicitALS
from fastals.tables.interactions import Interactions
from fastals.tables.store import InteractionStore

__version__ = "0.2.0.dev0"
__all__ = ["ImplicitALS", "InteractionStore", "Interactions", "NotFittedError", "UnknownIdError", "__version__"]
