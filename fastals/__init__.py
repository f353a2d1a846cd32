"""Exact implicit-feedback alternating least squares (Hu, Koren, Volinsky 2008), compiled with Numba."""

from fastals.model import ImplicitALS

__version__ = "0.1.0"
__all__ = ["ImplicitALS", "__version__"]
