"""Saving and loading models, pickling them without what can be made anew, and the state of a running fit."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import numpy as np

from fastals.core.rows import Rows
from fastals.core.safe_open import brief
from fastals.core.validation import (
    LARGEST_INT32,
    check_dtype,
    check_integer,
    check_real,
    check_rows,
    describe,
    largest_factor,
)
from fastals.persistence.model_file import read_model_file, write_model_file
from fastals.solver.sweeps import TrainingState
from fastals.tables.interactions import Interactions

Self = TypeVar("Self", bound="Persistence")
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


class Persistence:
    """``save``, ``load`` and pickling of a fitted model."""

    def save(self, path: str | os.PathLike[str], *, interactions: Interactions | None = None) -> None:
        """Write the model to one file, without pickle.

        Parameters
        ----------
        path : str or path
            Replaced as a whole once everything is written, or left as it was.
        interactions : Interactions, optional
            Ids of users and items to travel with the model; of the shape it was fitted to.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            For interactions that are none, or of another shape; for parameters that have been set since ``fit`` and
            contradict the factors, so that ``load`` would refuse the file.
        """
        model: Any = self
        rows: Rows = model._fitted("_rows")
        _check_parts(model, {"user_factors": model.user_factors, "item_factors": model.item_factors}, rows.shape)
        interactions = getattr(self, "interactions", None) if interactions is None else interactions
        arrays = {
            "user_factors": model.user_factors,
            "item_factors": model.item_factors,
            "indptr": rows.indptr,
            "indices": rows.indices,
            "data": rows.data,
            "loss_history": np.array(model.loss_history, np.float64),
        }
        if interactions is not None:
            if not isinstance(interactions, Interactions):
                raise TypeError(f"interactions must be an Interactions; got {describe(interactions)}")
            if interactions.user_items.shape != rows.shape:
                raise ValueError(
                    f"interactions must have the model's shape {rows.shape}; got {interactions.user_items.shape}"
                )
            if np.abs(rows.data).max(initial=0) > np.finfo(np.float32).max:
                raise ValueError(
                    "interactions hold float32, which values of the model's user_items exceed; leave them out"
                )
            arrays |= {"user_ids": interactions.user_ids, "item_ids": interactions.item_ids}
        header = {
            "model": type(self).__name__,
            "parameters": {name: _plain(value) for name, value in model.get_params().items()},
            "shape": list(rows.shape),
            "report": model.solver_report_,
            "alpha": float(model.alpha_),
        }
        write_model_file(path, header, arrays)

    @classmethod
    def load(cls: type[Self], path: str | os.PathLike[str], *, mmap: bool = False) -> Self:
        """Read a model that ``save`` wrote.

        Parameters
        ----------
        path : str or path
        mmap : bool
            Whether to map the factors into memory instead of keeping a copy of them. They are read once, to see that
            they are finite; their checksum is not verified.

        Returns
        -------
        ImplicitALS

        Raises
        ------
        ValueError
            For a file that is no model, damaged, of a later format, or whose parts do not fit together: factors that
            are not finite or of the wrong shape, a training matrix that is not canonical, ids of another number. The
            message names the file and the part. Nothing in the file is ever executed.
        OSError
            Where the file cannot be opened.
        """
        header, arrays = read_model_file(path, mmap=mmap)
        try:
            return cls._restored(header, arrays)
        except KeyError as error:
            raise ValueError(f"cannot read {os.fspath(path)!r}: no valid model: it lacks {brief(error)}") from error
        except (TypeError, ValueError, AttributeError, OverflowError, SyntaxError) as error:
            raise ValueError(f"cannot read {os.fspath(path)!r}: no valid model: {brief(error)}") from error

    @classmethod
    def _restored(cls: type[Self], header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        """Model of the parts of a file, held against each other."""
        model: Any = cls(**header["parameters"])
        if isinstance(model.regularization, list):
            model.regularization = tuple(model.regularization)
        model.alpha_ = check_real("alpha", header["alpha"])
        shape = _checked_shape(header["shape"])
        model._rows = _checked_structure(arrays, shape)
        _check_parts(model, arrays, shape)
        for name in ("user_factors", "item_factors"):
            arrays[name].flags.writeable = False
            model.__dict__[f"_{name}"] = arrays[name]
        history = arrays["loss_history"]
        if history.dtype != np.float64 or history.ndim != 1 or not np.isfinite(history).all():
            raise ValueError(f"loss_history must be a finite float64 vector; got {describe(history)}")
        model.loss_history = history.tolist()
        model.solver_report_ = dict(header["report"])
        for name, value in model.solver_report_.items():
            check_real(name, value)
        if "user_ids" in arrays or "item_ids" in arrays:
            matrix = model.user_items_
            table = {"indptr": matrix.indptr, "indices": matrix.indices, "data": matrix.data.astype(np.float32)}
            ids = {name: arrays[name] for name in ("user_ids", "item_ids")}
            for (name, values), count in zip(ids.items(), shape, strict=True):
                if values.shape != (count,):
                    raise ValueError(f"{name} must have one entry for each of {count}; got shape {values.shape}")
            model.interactions = Interactions.from_saved(table | ids)
        return model

    def training_state(self) -> TrainingState:
        """State of the running ``fit``, for its callbacks: ``fit(resume_from=...)`` goes on from it.

        Its arrays are the training's own and change with the next sweep; ``fastals.checkpoint`` writes them to a file.

        Raises
        ------
        RuntimeError
            Where no ``fit`` is running.
        """
        if "_training" not in self.__dict__:
            raise RuntimeError("training_state is there for the callbacks of fit alone: no fit is running")
        return self.__dict__["_training"].state()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_cache", "_training")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in ("_user_factors", "_item_factors"):  # arrays come out of a pickle writeable
            if name in state:
                state[name].flags.writeable = False


def check_stored_factors(array: np.ndarray, name: str, shape: tuple[int, int], dtype: np.dtype) -> None:
    """Raise ValueError for factors that serving could not rely on; reads them once, and copies nothing."""
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(f"{name} must be {dtype} of shape {shape}; got {describe(array)}")
    limit = largest_factor(shape, dtype)
    if array.size and not max(array.max(), -array.min()) < limit:  # false for NaN, too
        raise ValueError(f"{name} must be finite and below {limit:.3g}; got values that are not")


def _check_parts(model: Any, arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> None:
    """Hold parameters, factors and the shape of the training matrix against each other."""
    model._checked_objective(), model._checked_settings()
    factors, dtype = check_integer("factors", model.factors, 1), check_dtype(model.dtype)
    for name, count in zip(("user_factors", "item_factors"), shape, strict=True):
        check_stored_factors(arrays[name], name, (count, factors), dtype)


def _checked_shape(value: Any) -> tuple[int, int]:
    """Two integers, which indptr and factors are then held against."""
    if not isinstance(value, list) or len(value) != 2 or not all(type(length) is int for length in value):
        raise ValueError(f"shape must be two integers; got {describe(value)}")
    if max(value) > LARGEST_INT32:
        raise ValueError(f"shape must be below 2^31; got {describe(value)}")
    return value[0], value[1]


def _checked_structure(arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> Rows:
    """Rows of a file, held to their canonical form."""
    import scipy.sparse as sp

    indptr, indices, data = arrays["indptr"], arrays["indices"], arrays["data"]
    if indptr.dtype != np.int64 or indices.dtype != np.int32 or data.dtype not in (np.float32, np.float64):
        raise ValueError("indptr, indices and data must be int64, int32 and float32 or float64")
    if indptr.shape != (shape[0] + 1,) or indptr[0] != 0 or indptr[-1] != indices.size or (np.diff(indptr) < 0).any():
        raise ValueError("indptr does not rise from 0 to the number of indices")
    if data.shape not in ((1,), indices.shape):
        raise ValueError("data has neither one value nor one for each index")
    values = np.broadcast_to(data, indices.shape)
    rows, _ = check_rows(sp.csr_array((values, indices, indptr), shape=shape), "user_items")
    if not np.array_equal(rows.indices, indices) or not np.array_equal(rows.indptr, indptr):
        raise ValueError("user_items is not sorted, or has duplicates or zeros")
    return rows
