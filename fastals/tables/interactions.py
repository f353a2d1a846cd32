"""Tables of (user id, item id, value) as a sparse matrix that remembers the ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from scipy import sparse

from fastals.core.safe_open import brief
from fastals.core.validation import check_interactions
from fastals.tables.ids import IdIndex, factorise

__all__ = ["Duplicates", "Interactions", "check_duplicates"]

Duplicates = Literal["sum", "mean", "max", "last", "count", "error"]


class Interactions:
    """A sparse user-item matrix with the ids of its rows and columns.

    Parameters
    ----------
    user_items : scipy sparse matrix or array, shape (n_users, n_items)
        Rows are users. Copied into canonical CSR: duplicates summed, explicit zeros dropped.
    user_ids, item_ids : array of int or str, optional
        The id of each row and column, distinct, in any order. Default: their positions 0, 1, 2, ...

    Attributes
    ----------
    user_items : scipy.sparse.csr_array of float32
    user_ids, item_ids : ndarray, integers or fixed-width text (never object)
    times : csr_array of int64, or None
        When each pair was, on the pattern of ``user_items``; of repeated pairs the latest time.
    source : str
        Where the data came from, for people: the readers write the file and its columns here.

    Examples
    --------
    >>> from fastals.tables.interactions import Interactions
    >>> plays = Interactions.from_arrays(["ann", "bob", "ann"], ["abba", "blur", "blur"], [3, 1, 5])
    >>> plays.user_items.toarray().tolist()
    [[3.0, 5.0], [0.0, 1.0]]
    >>> plays.user_index("bob"), plays.item_ids[1].item()
    (1, 'blur')
    """

    def __init__(self, user_items: Any, user_ids: Any = None, item_ids: Any = None) -> None:
        checked = check_interactions(user_items, dtype=np.float32)
        self._set(_csr(checked.data, checked.indices, checked.indptr, checked.shape), user_ids, item_ids)

    def _set(self, user_items: sparse.csr_array, user_ids: Any, item_ids: Any) -> None:
        n_users, n_items = user_items.shape
        self.user_items = user_items
        self._users = IdIndex(np.arange(n_users) if user_ids is None else user_ids, "user")
        self._items = IdIndex(np.arange(n_items) if item_ids is None else item_ids, "item")
        for index, wanted in ((self._users, n_users), (self._items, n_items)):
            if index.ids.size != wanted:
                raise ValueError(f"{index.noun}_ids has {index.ids.size} entries for {wanted} {index.noun}s")
        self.times: sparse.csr_array | None = None
        self.source = ""

    @classmethod
    def _from_canonical(cls, user_items: sparse.csr_array, user_ids: Any = None, item_ids: Any = None) -> Interactions:
        """Wrap a matrix which is canonical already, without a copy."""
        made = cls.__new__(cls)
        made._set(user_items, user_ids, item_ids)
        return made

    @classmethod
    def from_arrays(
        cls, users: Any, items: Any, values: Any = None, *, times: Any = None, duplicates: Duplicates = "sum"
    ) -> Interactions:
        """Build from parallel columns.

        Parameters
        ----------
        users, items : sequence of int or str, length n
            Ids. Rows and columns are numbered in the sorted order of the ids.
        values : sequence of numbers, length n, optional
            Finite. Default: every row counts 1.
        times : sequence of integers or datetimes, length n, optional
            In any unit; datetimes become seconds since 1970. Of repeated pairs the latest is kept.
        duplicates : {"sum", "mean", "max", "last", "count", "error"}
            What rows with the same user and item become: their sum (in float64), mean, maximum, the last of them,
            their number (the values are then ignored), or a ValueError.

        Notes
        -----
        A pair whose value comes out as zero is not an observation and is dropped; its user and item keep their ids.

        Raises
        ------
        TypeError
            If ids are neither integers nor text, or values are not numbers.
        ValueError
            If lengths differ, there are no rows, an id is missing or a value is not finite.
        """
        user_ids, user_codes = factorise(users, "users")
        item_ids, item_codes = factorise(items, "items")
        if user_codes.size != item_codes.size:
            raise ValueError(f"users and items must be equally long, got {user_codes.size} and {item_codes.size}")
        return cls._from_codes(user_codes, item_codes, values, user_ids, item_ids, duplicates, times)

    @classmethod
    def _from_codes(
        cls,
        user_codes: np.ndarray,
        item_codes: np.ndarray,
        values: Any,
        user_ids: np.ndarray,
        item_ids: np.ndarray,
        duplicates: Duplicates,
        times: Any = None,
    ) -> Interactions:
        """Build from ids that are numbered already."""
        check_duplicates(duplicates)
        if not user_codes.size:
            raise ValueError("there are no interactions: users and items are empty")
        numbers = _check_values(values, user_codes.size)
        when = None if times is None else _check_times(times, user_codes.size)
        matrix, latest = _to_csr(user_codes, item_codes, numbers, when, duplicates, user_ids, item_ids)
        made = cls._from_canonical(matrix, user_ids, item_ids)
        if latest is not None:
            made.times = _csr(latest, matrix.indices, matrix.indptr, matrix.shape)
        return made

    @classmethod
    def from_dataframe(
        cls,
        frame: Any,
        *,
        user: str,
        item: str,
        value: str | None = None,
        time: str | None = None,
        duplicates: Duplicates = "sum",
    ) -> Interactions:
        """Build from a pandas, polars or pyarrow table (any eager table narwhals knows; extra ``tables``).

        Parameters
        ----------
        frame : dataframe
        user, item : str
            Names of the id columns.
        value : str, optional
            Name of the value column. Default: every row counts 1.
        time : str, optional
            Name of a column of integers or datetimes; see `from_arrays`.
        duplicates : str
            As in `from_arrays`.

        Raises
        ------
        ImportError
            If narwhals is not installed.
        TypeError
            If the frame is no table in memory, such as a LazyFrame of polars.
        ValueError
            If a column does not exist (the message lists those that do) or has missing entries.
        """
        try:
            import narwhals.stable.v1 as nw
        except ModuleNotFoundError:
            raise ImportError("dataframes need narwhals: pip install 'fastals[tables]'") from None
        table = _eager(nw, frame)
        columns: list[np.ndarray | None] = []
        for argument, name in (("user", user), ("item", item), ("value", value), ("time", time)):
            if argument in ("value", "time") and name is None:
                columns.append(None)
                continue
            if name not in table.columns:
                raise ValueError(f"{argument}: no column {name!r}; the table has {', '.join(map(repr, table.columns))}")
            missing = table[name].is_null()
            if missing.any():
                raise ValueError(f"{argument}: column {name!r} has a missing entry in row {missing.arg_true()[0]}")
            columns.append(table[name].to_numpy())
        *table_columns, times = columns
        return cls.from_arrays(*table_columns, times=times, duplicates=duplicates)

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray]) -> Interactions:
        """Rebuild from what `to_arrays` gave.

        Raises
        ------
        ValueError
            If an array is missing or the arrays do not describe a canonical matrix with its ids.
        """
        missing = [name for name in ("user_ids", "item_ids", "indptr", "indices", "data") if name not in arrays]
        if missing:
            raise ValueError(f"saved interactions lack {', '.join(missing)}")
        user_ids, item_ids = arrays["user_ids"], arrays["item_ids"]
        return cls._from_canonical(_checked_csr(arrays, (user_ids.size, item_ids.size)), user_ids, item_ids)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays (no objects) that hold everything: ``user_ids, item_ids, indptr, indices, data``."""
        matrix = self.user_items
        return {
            "user_ids": self.user_ids,
            "item_ids": self.item_ids,
            "indptr": matrix.indptr,
            "indices": matrix.indices,
            "data": matrix.data,
        }

    @property
    def user_ids(self) -> np.ndarray:
        """The id of each row."""
        return self._users.ids

    @property
    def item_ids(self) -> np.ndarray:
        """The id of each column."""
        return self._items.ids

    @property
    def n_users(self) -> int:
        """Number of rows."""
        return self.user_items.shape[0]

    @property
    def n_items(self) -> int:
        """Number of columns."""
        return self.user_items.shape[1]

    def user_index(self, ids: Any) -> Any:
        """Row of one user id (int), or rows of several (array of int64).

        Raises
        ------
        UnknownIdError
            A KeyError and a ValueError: an id is not among the users.
        """
        return self._users.positions(ids, self._items)

    def item_index(self, ids: Any) -> Any:
        """Column of one item id (int), or columns of several (array of int64).

        Raises
        ------
        UnknownIdError
            A KeyError and a ValueError: an id is not among the items.
        """
        return self._items.positions(ids, self._users)

    def __repr__(self) -> str:
        return f"<Interactions: {self.n_users:,} users x {self.n_items:,} items, {self.user_items.nnz:,} stored>"


def check_duplicates(duplicates: Any) -> None:
    """ValueError for anything that is not one of `Duplicates`."""
    if duplicates not in get_args(Duplicates):
        raise ValueError(f"duplicates must be one of {', '.join(get_args(Duplicates))}, got {duplicates!r}")


def _eager(nw: Any, frame: Any) -> Any:
    """The table as narwhals has it; TypeError that says what to do for one that is not in memory, and for others."""
    try:
        return nw.from_native(frame, eager_only=True)
    except TypeError:
        kind = f"{type(frame).__module__.split('.')[0]} {type(frame).__name__}"
        collected = "; call its collect() first" if hasattr(frame, "collect") else ""
        raise TypeError(f"frame must be a pandas, polars or pyarrow table in memory, got {kind}{collected}") from None


def _check_values(values: Any, size: int) -> np.ndarray | None:
    if values is None:
        return None
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "biuf":
        raise TypeError(f"values must be numbers, got dtype {numbers.dtype}")
    if numbers.shape != (size,):
        raise ValueError(f"values must have one entry for each of the {size} rows, got shape {numbers.shape}")
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        position = int(np.argmin(np.isfinite(numbers)))
        raise ValueError(f"values must be finite, got {numbers[position]} at position {position}")
    return numbers


def _check_times(times: Any, size: int) -> np.ndarray:
    """Times as int64; datetimes in seconds since 1970."""
    array = np.asarray(times)
    if array.dtype.kind == "M":
        if np.isnat(array).any():
            raise ValueError(f"times must not be missing, got NaT at position {int(np.argmax(np.isnat(array)))}")
        array = array.astype("datetime64[s]").astype(np.int64)
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.trunc(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"times must be integers or datetimes, got dtype {array.dtype}")
    if array.shape != (size,):
        raise ValueError(f"times must have one entry for each of the {size} rows, got shape {array.shape}")
    return array.astype(np.int64)


def _to_csr(
    users: np.ndarray,
    items: np.ndarray,
    values: np.ndarray | None,
    times: np.ndarray | None,
    duplicates: Duplicates,
    user_ids: np.ndarray,
    item_ids: np.ndarray,
) -> tuple[sparse.csr_array, np.ndarray | None]:
    """Canonical CSR of coded pairs, and their latest times: stable sort by (user, item), then one value per run."""
    n_users, n_items = shape = (user_ids.size, item_ids.size)
    pair = users * n_items + items  # below 2**62 while there are fewer than 2**31 users and items
    if (pair[1:] > pair[:-1]).all():
        order, first = None, np.arange(pair.size)
    else:
        order = np.argsort(pair, kind="stable")
        pair = pair[order]
        first = np.flatnonzero(np.concatenate(([True], pair[1:] != pair[:-1])))
    if duplicates == "error" and first.size < pair.size:
        run = first[np.argmax(np.diff(np.append(first, pair.size)) > 1)]
        user, item = divmod(int(pair[run]), n_items)
        user_id, item_id = brief(repr(user_ids[user].item())), brief(repr(item_ids[item].item()))
        raise ValueError(f"user {user_id} and item {item_id} meet more than once")
    data = _merge(values, order, first, pair.size, duplicates)
    latest = None if times is None else np.maximum.reduceat(times if order is None else times[order], first)
    pair = pair[first]
    if not data.all():
        latest = None if latest is None else latest[data != 0]
        pair, data = pair[data != 0], data[data != 0]
    indptr = np.zeros(n_users + 1, dtype=np.int64)
    np.cumsum(np.bincount(pair // n_items, minlength=n_users), out=indptr[1:])
    return _csr(data, pair % n_items, indptr, shape), latest


def _csr(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """CSR of canonical arrays, with int32 indices where they suffice (SciPy holds both in one type)."""
    kind = np.int32 if max(data.size, *shape) < 2**31 else np.int64
    matrix = sparse.csr_array((data, indices.astype(kind, copy=False), indptr.astype(kind, copy=False)), shape=shape)
    matrix.has_canonical_format = True
    return matrix


def _merge(
    values: np.ndarray | None, order: np.ndarray | None, first: np.ndarray, size: int, duplicates: Duplicates
) -> np.ndarray:
    """One float32 value for each run of equal pairs."""
    counts = np.diff(np.append(first, size))
    with np.errstate(over="ignore"):
        if values is None or duplicates == "count":
            merged = counts if duplicates in ("sum", "count") else np.ones(first.size)
        else:
            ordered = values if order is None else values[order]
            if duplicates == "last":
                merged = ordered[first + counts - 1]
            elif duplicates == "max":
                merged = np.maximum.reduceat(ordered, first)
            else:
                merged = np.add.reduceat(ordered, first, dtype=np.float64)
                merged = merged / counts if duplicates == "mean" else merged
        data = merged.astype(np.float32)
    if not np.isfinite(data).all():
        raise ValueError(f"values must fit float32, got {merged[np.argmin(np.isfinite(data))]}")
    return data


def _checked_csr(arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> sparse.csr_array:
    """CSR of arrays that come from a file: every bound that compiled code relies on is checked."""
    indptr, indices, data = (arrays[name] for name in ("indptr", "indices", "data"))
    good = (
        indptr.shape == (shape[0] + 1,)
        and indices.ndim == data.ndim == 1
        and indptr.dtype.kind == indices.dtype.kind == "i"
        and data.dtype == np.float32
        and indptr[0] == 0
        and indptr[-1] == indices.size == data.size
        and bool((indptr[1:] >= indptr[:-1]).all())
    )
    if good and indices.size:
        rising = indices[1:] > indices[:-1]
        starts = indptr[1:-1]
        rising[starts[(starts > 0) & (starts < indices.size)] - 1] = True  # a new row may begin lower
        good = bool(rising.all()) and indices.min() >= 0 and indices.max() < shape[1] and bool(np.isfinite(data).all())
    if not good:
        raise ValueError(f"saved interactions are damaged: their arrays are not a canonical matrix of shape {shape}")
    return _csr(data, indices, indptr, shape)
