"""`ImplicitALS` on the workers of a Dask cluster (extra ``dask``)."""

from fastals.distributed.model import DaskImplicitALS
from fastals.distributed.sources import build_store

__all__ = ["DaskImplicitALS", "build_store"]
