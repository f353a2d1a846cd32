"""Parts of a model's file: canonical rows, weights of missing pairs, features. How each is written, and checked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastals.core.features import Features
from fastals.core.overlay import Factors, History
from fastals.core.rows import Rows
from fastals.core.state import FeatureNames, State
from fastals.core.unobserved import Unobserved, check_exponents
from fastals.core.validation import check_real, check_rows, describe
from fastals.tables.ids import text_array

SIDES = ("user", "item")


class Part(NamedTuple):
    """What a part of a state adds to a file: to its header, and to its arrays."""

    header: dict[str, Any]
    arrays: dict[str, np.ndarray]


def written(state: State) -> tuple[Part, Part]:
    """Weights of missing pairs, and features with their effects and names."""
    unobserved, features = Part({}, {}), Part({}, {})
    for side, weights, known, names in zip(SIDES, state.unobserved, state.features, state.feature_names, strict=True):
        if weights is not None:
            unobserved.arrays[f"{side}_unobserved_weights"] = weights.array.copy()
            unobserved.header[side] = [weights.exponent, weights.scale, weights.smallest, weights.largest]
        if known is not None:
            rows = known.rows.oriented(0)
            features.arrays.update(
                {
                    f"{side}_features_indptr": rows.indptr,
                    f"{side}_features_indices": rows.indices,
                    f"{side}_features_data": rows.data,
                    f"{side}_effects": known.effects,
                }
            )
        if names is not None:
            features.arrays[f"{side}_feature_names"] = text_array(names, f"names of the {side}_features")
    return unobserved, features


def restored_unobserved(
    header: Any, arrays: dict[str, np.ndarray], shape: tuple[int, int]
) -> tuple[Unobserved | None, Unobserved | None]:
    """Weights of users and of items; TypeError or ValueError where they are not what ``written`` writes."""
    found: list[Unobserved | None] = []
    for side, count in zip(SIDES, shape, strict=True):
        array, rule = arrays.get(f"{side}_unobserved_weights"), dict(header).get(side)
        if array is None or rule is None:
            if array is not None or rule is not None:
                raise ValueError(f"{side}_unobserved_weights and their rule must come together")
            found.append(None)
            continue
        if array.dtype != np.float64 or not isinstance(rule, list) or len(rule) != 4:
            raise ValueError(f"{side}_unobserved_weights must be float64 with a rule of four; got {describe(array)}")
        Unobserved.given(array, f"{side}_unobserved_weights", count)
        exponent = None if rule[0] is None else check_exponents((rule[0], 0.0))[0]
        names = ("scale", "smallest weight", "largest weight")
        scale, smallest, largest = (check_real(name, value) for name, value in zip(names, rule[1:], strict=True))
        if not scale > 0 or not largest > 0:
            raise ValueError(f"scale and largest weight of {side}s must be positive; got {scale} and {largest}")
        found.append(Unobserved(Factors(array[:, None]), exponent, scale, smallest, largest))
    return found[0], found[1]


def restored_features(
    arrays: dict[str, np.ndarray], shape: tuple[int, int], factors: int
) -> tuple[Features | None, Features | None]:
    """Features of users and of items; ValueError where they are not what ``written`` writes."""
    found: list[Features | None] = []
    for side, count in zip(SIDES, shape, strict=True):
        effects = arrays.get(f"{side}_effects")
        if effects is None:
            found.append(None)
            continue
        if effects.dtype != np.float64 or effects.ndim != 2 or effects.shape[1] != factors or not effects.size:
            raise ValueError(f"{side}_effects must be float64 of shape (features, {factors}); got {describe(effects)}")
        if not np.isfinite(effects).all():
            raise ValueError(f"{side}_effects must be finite")
        rows = restored_rows(arrays, (count, effects.shape[0]), f"{side}_features_", f"{side}_features")
        found.append(Features(History(rows), effects))
    return found[0], found[1]


def restored_names(arrays: dict[str, np.ndarray], features: tuple[Features | None, Features | None]) -> FeatureNames:
    """Names of the features of users and of items; ValueError where they are not what ``written`` writes."""
    found: list[tuple[str, ...] | None] = []
    for side, known in zip(SIDES, features, strict=True):
        names = arrays.get(f"{side}_feature_names")
        if names is not None and (known is None or names.dtype.kind != "U" or names.shape != (known.n_features,)):
            count = 0 if known is None else known.n_features
            raise ValueError(f"{side}_feature_names must be {count} texts, one a feature; got {describe(names)}")
        found.append(None if names is None else tuple(names.tolist()))
    return found[0], found[1]


def restored_rows(arrays: dict[str, np.ndarray], shape: tuple[int, int], prefix: str, name: str) -> Rows:
    """Rows of a file, held to their canonical form; ``prefix`` is that of the arrays' names."""
    indptr, indices, data = (arrays[f"{prefix}{part}"] for part in ("indptr", "indices", "data"))
    if indptr.dtype != np.int64 or indices.dtype != np.int32 or data.dtype not in (np.float32, np.float64):
        raise ValueError("indptr, indices and data must be int64, int32 and float32 or float64")
    if indptr.shape != (shape[0] + 1,) or indptr[0] != 0 or indptr[-1] != indices.size or (np.diff(indptr) < 0).any():
        raise ValueError("indptr does not rise from 0 to the number of indices")
    if data.shape not in ((1,), indices.shape):
        raise ValueError("data has neither one value nor one for each index")
    values = np.broadcast_to(data, indices.shape)
    rows, _ = check_rows(sp.csr_array((values, indices, indptr), shape=shape), name)
    if not np.array_equal(rows.indices, indices) or not np.array_equal(rows.indptr, indptr):
        raise ValueError(f"{name} is not sorted, or has duplicates or zeros")
    return rows
