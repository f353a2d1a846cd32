"""Compiled kernels: bare arrays and scalars in, bare arrays out."""
