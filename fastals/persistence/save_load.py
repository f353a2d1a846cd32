"""Models in files: what is written, and how it is checked when it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Any, TypeAlias

import numpy as np

from fastals.core.overlay import Factors, History
from fastals.core.rows import Rows
from fastals.core.safe_open import brief
from fastals.core.state import Chosen, State, needed
from fastals.core.validation import (
    LARGEST_INT32,
    check_dtype,
    check_integer,
    check_pair,
    check_real,
    describe,
    largest_factor,
)
from fastals.persistence import parts
from fastals.persistence.model_file import read_model_file, write_model_file
from fastals.persistence.streams import file_name
from fastals.solver.checked import checked_objective, checked_settings
from fastals.tables.interactions import Interactions
from fastals.tables.store import InteractionStore

Ids: TypeAlias = Interactions | InteractionStore
FACTORS = ("user_factors", "item_factors")
PLAIN = (type(None), bool, int, float, str)


def _plain(value: Any) -> Any:
    """A parameter as JSON can hold it; random generators become None."""
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(element) for element in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PLAIN):
        return value
    return np.dtype(value).name if isinstance(value, (type, np.dtype)) else None


def save(
    model: Any,
    state: State,
    path: str | os.PathLike[str] | IO[bytes],
    interactions: Ids | None = None,
) -> None:
    """Write the model to one file, without pickle.

    The file holds the matrix that the model was fitted to. Of a model fitted to a store, too: it is copied from the
    store's files piece by piece, and the model does without the store from then on.

    Parameters
    ----------
    path : str, path or binary file object
        Replaced as a whole once everything is written, or left unchanged; a file object is written to where it stands.
    interactions : Interactions or InteractionStore, optional
        Ids of users and items to travel with the model; of the shape it was fitted to. Times stay behind.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    TypeError, ValueError
        For interactions of another type or shape; for parameters that have been set since ``fit`` and contradict the
        factors, so that ``load`` would refuse the file.
    OSError
        Where the file cannot be written.
    """
    rows = needed(state.history).oriented(0)
    factors = {name: needed(getattr(state, name)).array for name in FACTORS}
    chosen = needed(state.chosen)
    _check_parts(model, chosen, factors, rows.shape)
    interactions = state.interactions if interactions is None else interactions
    arrays = {
        **factors,
        "indptr": rows.indptr,
        "indices": rows.indices,
        "data": rows.data,
        "loss_history": np.array(state.loss_history, np.float64),
    }
    if interactions is not None:
        arrays |= _checked_ids(interactions, rows)
    unobserved, features = parts.written(state)
    arrays |= unobserved.arrays | features.arrays
    header = {
        "model": type(model).__name__,
        "parameters": {name: _plain(value) for name, value in model.get_params().items()},
        "shape": list(rows.shape),
        "fitted_shape": list(needed(state.history).fitted_shape),
        "report": dict(state.report),
        "alpha": chosen.alpha,
        "regularization": list(chosen.regularization),
        "feature_regularization": list(chosen.feature_regularization),
        "unobserved": unobserved.header,
    }
    write_model_file(path, header, arrays)


def load(build: Callable[..., Any], path: str | os.PathLike[str] | IO[bytes], mmap: bool = False) -> tuple[Any, State]:
    """Read a model that ``save`` wrote: what ``build`` makes of its parameters, and its state.

    Parameters
    ----------
    path : str, path or binary file object
        A file object is read from where it stands to its end.
    mmap : bool
        Whether to map the arrays into memory instead of keeping copies of them. The factors are read once, to see that
        they are finite, but their checksum is not verified, unlike that of all else.

    Returns
    -------
    ImplicitALS

    Raises
    ------
    ValueError
        For a file that is not a model, damaged, of a later format, or whose parts do not fit together: factors that are
        not finite or of the wrong shape, a training matrix that is not canonical, ids of another number. The message
        names the file and the part. Nothing in the file is ever executed.
    OSError
        Where the file cannot be opened.
    """
    header, arrays = read_model_file(path, mmap=mmap, unverified=FACTORS)
    try:
        return _restored(build, header, arrays)
    except KeyError as error:
        raise ValueError(f"cannot read {file_name(path)}: no valid model: it lacks {brief(error)}") from error
    except (TypeError, ValueError, AttributeError, OverflowError, SyntaxError) as error:
        raise ValueError(f"cannot read {file_name(path)}: no valid model: {brief(error)}") from error


def _restored(build: Callable[..., Any], header: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[Any, State]:
    """Model and state of the parts of a file, held against each other."""
    model = build(**header["parameters"])
    for name in ("regularization", "unobserved_exponent", "feature_regularization"):
        if isinstance(getattr(model, name), list):
            setattr(model, name, tuple(getattr(model, name)))
    chosen, shape = _restored_choice(header, model), _checked_shape(header["shape"])
    rows = parts.restored_rows(arrays, shape, "", "user_items")
    _check_parts(model, chosen, arrays, shape)
    history = arrays["loss_history"]
    if history.dtype != np.float64 or history.ndim != 1 or not np.isfinite(history).all():
        raise ValueError(f"loss_history must be a finite float64 vector; got {describe(history)}")
    report = {name: check_real(name, value) for name, value in dict(header["report"]).items()}
    users, items = (Factors(arrays[name]) for name in FACTORS)
    interactions = _restored_ids(arrays, rows) if "user_ids" in arrays or "item_ids" in arrays else None
    unobserved = parts.restored_unobserved(header.get("unobserved", {}), arrays, shape)
    features = parts.restored_features(arrays, shape, users.shape[1])
    state = State(
        users,
        items,
        _restored_history(rows, header),
        chosen,
        tuple(history.tolist()),
        unobserved,
        features,
        report,
        interactions,
        feature_names=parts.restored_names(arrays, features),
    )
    return model, state


def _checked_ids(interactions: Ids, rows: Rows) -> dict[str, np.ndarray]:
    """Arrays of the ids of interactions that fit the rows of a model."""
    if not isinstance(interactions, (Interactions, InteractionStore)):
        raise TypeError(f"interactions must be an Interactions; got {describe(interactions)}")
    if interactions.user_items.shape != rows.shape:
        raise ValueError(f"interactions must have the model's shape {rows.shape}; got {interactions.user_items.shape}")
    if np.abs(rows.data).max(initial=0) > np.finfo(np.float32).max:
        raise ValueError("interactions hold float32, which values of the model's user_items exceed; leave them out")
    return {"user_ids": interactions.user_ids, "item_ids": interactions.item_ids}


def _restored_ids(arrays: dict[str, np.ndarray], rows: Rows) -> Interactions:
    """Interactions of the ids in a file."""
    ids = {name: arrays[name] for name in ("user_ids", "item_ids")}
    for (name, values), count in zip(ids.items(), rows.shape, strict=True):
        if values.shape != (count,):
            raise ValueError(f"{name} must have one entry for each of {count}; got shape {values.shape}")
    matrix = rows.as_csr(np.dtype(np.float32))
    table = {"indptr": matrix.indptr, "indices": matrix.indices, "data": matrix.data.astype(np.float32)}
    return Interactions.from_saved(table | ids)


def check_stored_factors(array: np.ndarray, name: str, shape: tuple[int, int], dtype: np.dtype) -> None:
    """Raise ValueError for factors that serving could not rely on; reads them once, and copies nothing."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype} of shape {shape}; got {describe(array)}")
    limit = largest_factor(shape, dtype)
    if array.size and not max(array.max(), -array.min()) < limit:  # false for NaN, too
        raise ValueError(f"{name} must be finite and below {limit:.3g}; got values that are not")


def _restored_choice(header: dict[str, Any], model: Any) -> Chosen:
    """Alpha and strengths that were used; files from before "auto" have the latter among the parameters alone."""

    def pair(name: str) -> tuple[float, float]:
        users, items = check_pair(name, header.get(name, getattr(model, name)))
        return check_real(name, users), check_real(name, items)

    return Chosen(check_real("alpha", header["alpha"]), pair("regularization"), pair("feature_regularization"))


def _check_parts(model: Any, chosen: Chosen, arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> None:
    """Hold parameters, factors and the shape of the training matrix against each other."""
    checked_objective(model, chosen)
    checked_settings(model)
    factors, dtype = check_integer("factors", model.factors, 1), check_dtype(model.dtype)
    for name, count in zip(("user_factors", "item_factors"), shape, strict=True):
        check_stored_factors(arrays[name], name, (count, factors), dtype)


def _restored_history(rows: Rows, header: dict[str, Any]) -> History:
    """Interactions of a file, which may have grown since the fit; earlier versions did not write by how much."""
    history = History(rows)
    history.fitted_shape = _checked_shape(header.get("fitted_shape", header["shape"]))
    if not all(0 <= fitted <= now for fitted, now in zip(history.fitted_shape, rows.shape, strict=True)):
        raise ValueError(f"fitted_shape must be within shape, {rows.shape}; got {history.fitted_shape}")
    return history


def _checked_shape(value: Any) -> tuple[int, int]:
    """Two integers, which indptr and factors are then held against."""
    if not isinstance(value, list) or len(value) != 2 or not all(type(length) is int for length in value):
        raise ValueError(f"shape must be two integers; got {describe(value)}")
    if max(value) > LARGEST_INT32:
        raise ValueError(f"shape must be below 2^31; got {describe(value)}")
    return value[0], value[1]
