"""User and item ids of any kind (integers or text) against the row and column numbers of a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastals.core.safe_open import brief
from fastals.core.validation import UnknownIdError

__all__ = ["IdIndex", "UnknownIdError", "appended", "factorise", "id_array", "text_array"]

# Integer ids are numbered through a table of flags while their span is at most this many times their number
# (two linear passes instead of a sort).
_DENSE_SPAN = 8
# Fixed-width text takes 4 bytes a character of the longest id for each id: at most this, or this for each character.
_TEXT_BYTES, _TEXT_BYTES_A_CHARACTER = 2**28, 128
_WHOLE_IN_FLOAT = 2**53  # beyond it floats skip integers


def id_array(values: Any, name: str) -> np.ndarray | list[str]:
    """Check a column of ids: an int64/uint64 array, or a list of str.

    Parameters
    ----------
    values : sequence or one-dimensional array
        Integers, text, UTF-8 bytes, or floats that are all whole numbers (a table with a gap turns integers into
        floats).
    name : str
        What to call the column in errors.

    Raises
    ------
    TypeError
        If the entries are neither all integers nor all text.
    ValueError
        If the column is not one-dimensional or an id is missing (NaN).
    """
    array = values if isinstance(values, np.ndarray) else _to_array(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {array.shape}")
    kind = array.dtype.kind
    if kind == "i" or (kind == "u" and (array.dtype.itemsize < 8 or not (array > np.iinfo(np.int64).max).any())):
        return array.astype(np.int64, copy=False)
    if kind == "u":
        return array
    if kind == "f":
        return _whole_numbers(array, name)
    if kind == "S":
        return np.char.decode(array, "utf-8").tolist()
    if kind in "UTO":
        return _text_or_integers(array.tolist(), name)
    raise TypeError(f"{name} must be integers or text, got dtype {array.dtype}")


def _to_array(values: Any) -> np.ndarray:
    """Array of a sequence, without NumPy turning numbers among text into text, or all text into the longest's width."""
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        kinds = set(map(type, values))
        if kinds != {bytes} and any(issubclass(kind, (str, bytes)) for kind in kinds):
            array = np.empty(len(values), dtype=object)
            array[:] = values
            return array
    return np.asarray(values)


def _whole_numbers(array: np.ndarray, name: str) -> np.ndarray:
    missing = ~np.isfinite(array)
    if missing.any():
        raise ValueError(f"{name} has a missing id ({array[missing][0]}) at position {int(np.argmax(missing))}")
    fraction = array != np.trunc(array)
    if fraction.any():
        raise TypeError(f"{name} must be integers or text, got {array[fraction][0]} at position {np.argmax(fraction)}")
    if array.size and np.abs(array).max() > _WHOLE_IN_FLOAT:
        raise ValueError(f"{name} are floats, exact up to 2^53 alone; got {np.abs(array).max()}: make them text first")
    return array.astype(np.int64)


def _text_or_integers(values: list[Any], name: str) -> np.ndarray | list[str]:
    kinds = set(map(type, values))
    if all(issubclass(kind, str) for kind in kinds):
        return values
    if all(issubclass(kind, (int, np.integer)) and not issubclass(kind, bool) for kind in kinds):
        try:
            return np.array(values, dtype=np.int64)
        except OverflowError:
            raise ValueError(
                f"{name} must be integers of at most 64 bits, got {max(values, key=abs)}: make them text first"
            ) from None
    for position, value in enumerate(values):
        if not isinstance(value, (str, int, np.integer)) or isinstance(value, bool):
            got = f"{brief(repr(value))} ({type(value).__name__})"
            raise TypeError(f"{name} must be integers or text, got {got} at position {position}")
    raise TypeError(f"{name} mixes integers and text; make them all text first")


def text_array(texts: Sequence[str], name: str) -> np.ndarray:
    """Fixed-width text of ids or names.

    Raises
    ------
    ValueError
        If one is so much longer than the others that the array would dwarf them, or ends in a NUL character, which
        fixed-width text cannot hold.
    """
    longest = max(texts, key=len, default="")
    n_bytes, characters = 4 * len(longest) * len(texts), sum(map(len, texts))
    if n_bytes > max(_TEXT_BYTES, _TEXT_BYTES_A_CHARACTER * characters):
        raise ValueError(
            f"{name}: one of {len(longest):,} characters among {len(texts):,}, {longest[:40]!r}..., which would take "
            f"{n_bytes / 1e9:.1f} GB; shorten it or leave it out"
        )
    if any(text.endswith("\0") for text in texts):
        raise ValueError(f"{name}: one ends in a NUL character")
    return np.array(texts, dtype=np.str_)


def factorise(values: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct ids of a column.

    Returns
    -------
    ids : ndarray
        The distinct ids, sorted: int64, uint64 or fixed-width text.
    codes : ndarray of int64
        For each entry its position in `ids`.
    """
    checked = id_array(values, name)
    if isinstance(checked, list):
        distinct = sorted(set(checked))
        # A dictionary numbers 20 million strings in seconds where sorting them takes a minute.
        position = {text: code for code, text in enumerate(distinct)}
        return text_array(distinct, name), np.fromiter(map(position.__getitem__, checked), np.int64, len(checked))
    if checked.dtype == np.int64 and checked.size:
        low, high = int(checked.min()), int(checked.max())
        if high - low < _DENSE_SPAN * checked.size:
            offset = checked - low
            present = np.zeros(high - low + 1, dtype=bool)
            present[offset] = True
            return np.flatnonzero(present) + low, (np.cumsum(present) - 1)[offset]
    ids, codes = np.unique(checked, return_inverse=True)
    return ids, codes.reshape(-1)


def appended(ids: np.ndarray, more: Any, name: str) -> np.ndarray:
    """Ids with others behind them, in the type that they have.

    Raises
    ------
    ValueError
        For text that is no integer among ids that are integers.
    """
    if ids.dtype.kind == "U":
        return text_array([*ids.tolist(), *map(str, more)], name)
    try:
        return np.concatenate([ids, np.array([int(one) for one in more], ids.dtype)])
    except (ValueError, OverflowError):
        raise ValueError(f"{name} are integers, such as {ids[0]}; more of them must be, too") from None


class IdIndex:
    """Find the positions of ids in an array of distinct ids.

    Parameters
    ----------
    ids : array of int or str
        Distinct ids, in any order; position p stands for row (or column) p.
    noun : str
        ``"user"`` or ``"item"``, for messages.
    """

    def __init__(self, ids: Any, noun: str) -> None:
        self.noun = noun
        checked = id_array(ids, f"{noun}_ids")
        self.ids = text_array(checked, f"{noun}_ids") if isinstance(checked, list) else checked
        ordered = bool((self.ids[1:] > self.ids[:-1]).all())
        self._order = None if ordered else np.argsort(self.ids, kind="stable")
        self._sorted = self.ids if self._order is None else self.ids[self._order]
        repeated = self._sorted[1:] == self._sorted[:-1]
        if repeated.any():
            raise ValueError(f"{noun}_ids holds {brief(repr(self._sorted[1:][repeated][0].item()))} more than once")

    def find(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (int64) of the wanted ids, and a mask of those which are known."""
        text = self.ids.dtype.kind == "U"
        if not self.ids.size or (wanted.dtype.kind == "U") != text:
            return np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape, bool)
        place = np.minimum(np.searchsorted(self._sorted, wanted), self._sorted.size - 1)
        known = self._sorted[place] == wanted
        return (place if self._order is None else self._order[place]).astype(np.int64), known

    def positions(self, wanted: Any, other: IdIndex) -> int | np.ndarray:
        """Position of one id, or positions of an array of them.

        Parameters
        ----------
        wanted : int, str or sequence of them
        other : IdIndex
            The other side of the matrix, for the hint that users and items may be swapped.

        Raises
        ------
        UnknownIdError
            If an id is not known; the message says on which side it was sought.
        """
        scalar = np.ndim(wanted) == 0
        checked = id_array([wanted] if scalar else wanted, f"{self.noun} ids")
        array = text_array(checked, f"{self.noun} ids") if isinstance(checked, list) else checked
        if not array.size:
            return np.empty(0, np.int64)
        found, known = self.find(array)
        if not known.all():
            raise UnknownIdError(self._complaint(array[~known], other))
        return int(found[0]) if scalar else found

    def _complaint(self, unknown: np.ndarray, other: IdIndex) -> str:
        shown = ", ".join(brief(repr(one)) for one in unknown[:3].tolist()) + (", ..." if unknown.size > 3 else "")
        message = f"unknown {self.noun} id{'s' if unknown.size > 1 else ''} {shown}"
        if self.ids.dtype.kind == "U" and unknown.dtype.kind != "U":
            return f"{message}: the {self.noun} ids are text, such as {brief(repr(self.ids[0].item()))}"
        if self.ids.dtype.kind != "U" and unknown.dtype.kind == "U":
            return f"{message}: the {self.noun} ids are integers, such as {brief(repr(self.ids[0].item()))}"
        if other.find(unknown)[1].all():
            return f"{message}; known as {other.noun} id{'s' if unknown.size > 1 else ''}: are users and items swapped?"
        return f"{message} ({self.ids.size:,} {self.noun} ids are known)"
