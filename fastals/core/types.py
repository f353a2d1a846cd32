"""Names of the types that public functions take and return."""

from __future__ import annotations

from typing import Any, TypeAlias, Union

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from fastals.core.features import NamedFeatures
from fastals.core.stored import StoredInteractions

__all__ = ["Array", "ArrayLike", "FeaturesLike", "RandomState", "SparseLike"]

# At run time scipy's classes take no parameters; type checkers read the strings.
SparseLike: TypeAlias = Union["sp.sparray[Any]", "sp.spmatrix[Any]", StoredInteractions]
Array: TypeAlias = NDArray[Any]
RandomState: TypeAlias = Union[int, "np.random.Generator", "np.random.RandomState", None]
FeaturesLike: TypeAlias = Union["sp.sparray[Any]", "sp.spmatrix[Any]", ArrayLike, NamedFeatures]
