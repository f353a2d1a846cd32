"""Tables of (user id, item id, value) as a sparse matrix that remembers the ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

from fastals.core.validation import check_interactions
from fastals.tables.columns import check_times, check_values, eager_frame, frame_columns
from fastals.tables.duplicates import Duplicates, check_duplicates
from fastals.tables.ids import IdIndex, appended, factorise
from fastals.tables.pairs import checked_csr, csr, to_csr

__all__ = ["Duplicates", "Interactions"]


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
    >>> from fastals.interactions import Interactions
    >>> plays = Interactions.from_arrays(["ann", "bob", "ann"], ["abba", "blur", "blur"], [3, 1, 5])
    >>> plays.user_items.toarray().tolist()
    [[3.0, 5.0], [0.0, 1.0]]
    >>> plays.user_index("bob"), plays.item_ids[1].item()
    (1, 'blur')
    """

    def __init__(self, user_items: Any, user_ids: Any = None, item_ids: Any = None) -> None:
        checked = check_interactions(user_items, dtype=np.float32)
        self._set(csr(checked.data, checked.indices, checked.indptr, checked.shape), user_ids, item_ids)

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

        Returns
        -------
        Interactions

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
        numbers = check_values(values, user_codes.size)
        when = None if times is None else check_times(times, user_codes.size)
        matrix, latest = to_csr(user_codes, item_codes, numbers, when, duplicates, user_ids, item_ids)
        made = cls._from_canonical(matrix, user_ids, item_ids)
        if latest is not None:
            made.times = csr(latest, matrix.indices, matrix.indptr, matrix.shape)
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

        Returns
        -------
        Interactions

        Raises
        ------
        ImportError
            If narwhals is not installed.
        TypeError
            If the frame is no table in memory, such as a LazyFrame of polars.
        ValueError
            If a column does not exist (the message lists those that do) or has missing entries.
        """
        columns = frame_columns(eager_frame(frame), user, item, value, time)
        *table_columns, times = columns
        return cls.from_arrays(*table_columns, times=times, duplicates=duplicates)

    @classmethod
    def from_saved(cls, arrays: Mapping[str, np.ndarray]) -> Interactions:
        """Rebuild from what `to_arrays` gave.

        Parameters
        ----------
        arrays : mapping of str to array

        Returns
        -------
        Interactions

        Raises
        ------
        ValueError
            If an array is missing or the arrays do not describe a canonical matrix with its ids.
        """
        missing = [name for name in ("user_ids", "item_ids", "indptr", "indices", "data") if name not in arrays]
        if missing:
            raise ValueError(f"saved interactions lack {', '.join(missing)}")
        user_ids, item_ids = arrays["user_ids"], arrays["item_ids"]
        return cls._from_canonical(checked_csr(arrays, (user_ids.size, item_ids.size)), user_ids, item_ids)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain arrays, without objects.

        Returns
        -------
        dict of str to array
            ``user_ids``, ``item_ids``, ``indptr``, ``indices`` and ``data``.
        """
        matrix = self.user_items
        return {
            "user_ids": self.user_ids,
            "item_ids": self.item_ids,
            "indptr": matrix.indptr,
            "indices": matrix.indices,
            "data": matrix.data,
        }

    def with_ids(self, user_ids: Any = (), item_ids: Any = ()) -> Interactions:
        """The same interactions with rows and columns for more ids, of whom there is no pair yet.

        Parameters
        ----------
        user_ids, item_ids : sequences of int or str
            Put behind the ids that there are; text of integers serves for ids that are integers.

        Returns
        -------
        Interactions

        Raises
        ------
        ValueError
            For ids that are known or come twice, or text among ids that are integers.
        """
        users, items = appended(self.user_ids, user_ids, "user_ids"), appended(self.item_ids, item_ids, "item_ids")
        shape = (users.size, items.size)
        made = self._from_canonical(_reshaped(self.user_items, shape), users, items)
        made.times = None if self.times is None else _reshaped(self.times, shape)
        made.source = self.source
        return made

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
        """Row of one user id, or rows of several.

        Parameters
        ----------
        ids : int, str, or sequence of either

        Returns
        -------
        int, or (n,) int64 array

        Raises
        ------
        UnknownIdError
            A KeyError and a ValueError: an id is not among the users.
        """
        return self._users.positions(ids, self._items)

    def item_index(self, ids: Any) -> Any:
        """Column of one item id, or columns of several.

        Parameters
        ----------
        ids : int, str, or sequence of either

        Returns
        -------
        int, or (n,) int64 array

        Raises
        ------
        UnknownIdError
            A KeyError and a ValueError: an id is not among the items.
        """
        return self._items.positions(ids, self._users)

    def __repr__(self) -> str:
        return f"<Interactions: {self.n_users:,} users x {self.n_items:,} items, {self.user_items.nnz:,} stored>"


def _reshaped(matrix: sparse.csr_array, shape: tuple[int, int]) -> sparse.csr_array:
    """The same entries in a matrix that is at least as large."""
    indptr = np.pad(matrix.indptr, (0, shape[0] - matrix.shape[0]), mode="edge")
    return csr(matrix.data, matrix.indices, indptr, shape)
