"""Ids that someone may have meant, for messages about one that is not known."""

from __future__ import annotations

import difflib

import numpy as np

__all__ = ["near"]

_AT_A_TIME = 2**16  # ids brought to lower case in one array
_MOST = 20_000  # ids compared letter by letter, some ten microseconds each


def near(text: str, known: np.ndarray, number: int = 3) -> list[str]:
    """The known ids that are most like a text, best first.

    First those that hold each of its words, whatever the case; where none does, those that are spelt alike, of the
    first 20,000 that begin with the same letter.

    Parameters
    ----------
    text : str
    known : array of str or int
        Of integers none is near.
    number : int
        How many to return at most.
    """
    words = text.lower().split()
    if known.dtype.kind != "U" or not words:
        return []
    holding: list[str] = []
    alike: list[str] = []
    for start in range(0, known.size, _AT_A_TIME):
        block = known[start : start + _AT_A_TIME]
        lower = np.char.lower(block)
        holds = np.ones(block.size, dtype=bool)
        for word in words:
            holds &= np.char.find(lower, word) >= 0
        holding += block[holds][: _MOST - len(holding)].tolist()
        alike += block[np.char.startswith(lower, words[0][0])][: _MOST - len(alike)].tolist()
    sought = " ".join(words)
    if holding:
        return sorted(holding, key=lambda one: -difflib.SequenceMatcher(None, sought, one.lower()).ratio())[:number]
    spelt = {one.lower(): one for one in alike}
    return [spelt[one] for one in difflib.get_close_matches(sought, spelt, number)]
