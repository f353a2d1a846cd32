"""What a case claims: claims are counted, with how near each came to its limit, and those that fail are collected."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from .limits import Solved

# What the package may say of a sound problem: rows that the data do not determine, a tolerance below the type's
# precision, and a model that grows.
EXPECTED_WARNINGS = ("determined", "tol=", "the model has grown beyond its id maps")


class Checks:
    """Claims of one case."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self.nearest: dict[str, float] = {}  # largest of got / limit
        self.description = ""  # of the problem, for whoever replays the case

    def true(self, name: str, holds: Any, text: str = "") -> bool:
        self.counts[name] += 1
        if not holds:
            self.failures.append(f"{name}: {text}" if text else name)
        return bool(holds)

    def at_most(self, name: str, got: Any, limit: Any, text: str = "") -> bool:
        """No element of |got| is NaN or exceeds its limit."""
        got, limit = np.broadcast_arrays(np.abs(np.asarray(got, np.float64)), np.asarray(limit, np.float64))
        if not got.size:
            return self.true(name, True)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(got == 0, 0.0, got / limit)
        ratios = np.where(np.isnan(ratios) | np.isnan(limit), np.inf, ratios)
        worst = np.unravel_index(int(np.argmax(ratios)), ratios.shape)
        self.nearest[name] = max(self.nearest.get(name, 0.0), float(ratios[worst]))
        place = f" at {tuple(int(index) for index in worst)}" if worst else ""
        return self.true(name, ratios[worst] <= 1, f"{got[worst]:.3g} > {limit[worst]:.3g}{place} {text}")

    def solved(self, name: str, rows: Solved, text: str = "") -> None:
        """Rows solve their normal equations, component by component and in the norm of the loss."""
        self.at_most(f"{name}: residuals", rows.residuals, rows.residual_limits, text)
        self.at_most(f"{name}: errors", rows.errors, rows.error_limits, text)

    def same(self, name: str, got: Any, expected: Any, text: str = "") -> bool:
        """Equal bit for bit, in type and shape."""
        equal = content(got, flags=False) == content(expected, flags=False)
        return self.true(name, equal, "" if equal else f"{difference(got, expected)} {text}")

    @contextlib.contextmanager
    def unchanged(self, name: str, *values: Any) -> Iterator[None]:
        """The values that the caller passes in the block are the same after it."""
        before = [content(value) for value in values]
        yield
        for position, value in enumerate(values):
            self.true(name, content(value) == before[position], f"argument {position} has been changed")

    @contextlib.contextmanager
    def raises(self, name: str, *errors: type[Exception]) -> Iterator[None]:
        try:
            yield
        except errors:
            self.true(name, True)
        except Exception as error:
            self.true(name, False, f"raised {error!r}")
        else:
            self.true(name, False, "raised nothing")

    @contextlib.contextmanager
    def warnings_expected(self) -> Iterator[list[str]]:
        """Collect warnings; any but the expected ones is a failure."""
        texts: list[str] = []
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield texts
        for warning in caught:
            texts.append(str(warning.message))
            expected = any(part in texts[-1] for part in EXPECTED_WARNINGS)
            self.true("no other warning", expected, f"{warning.category.__name__}: {texts[-1]}")


def content(value: Any, flags: bool = True) -> Any:
    """Everything of a value that a caller could see changed; floats by their bits."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return "objects", value.shape, repr(value.tolist())
        return value.dtype.str, value.shape, flags and value.flags.writeable, value.tobytes()
    if sp.issparse(value):
        names = ("data", "indices", "indptr", "row", "col", "offsets", "rows")
        held = {name: content(getattr(value, name), flags) for name in names if hasattr(value, name)}
        return type(value), value.shape, held or sorted(value.items())
    if isinstance(value, (list, tuple)):
        return type(value), [content(element, flags) for element in value]
    if isinstance(value, dict):
        return {name: content(element, flags) for name, element in value.items()}
    if isinstance(value, float):
        return value.hex()
    return value


def difference(got: Any, expected: Any) -> str:
    """How two values differ, in a few words."""
    if not (isinstance(got, np.ndarray) and isinstance(expected, np.ndarray)):
        return f"got {str(got)[:200]}, expected {str(expected)[:200]}"
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"got {got.dtype} of shape {got.shape}, expected {expected.dtype} of shape {expected.shape}"
    places = np.argwhere((got != expected) & ~((got != got) & (expected != expected)))
    if not len(places):
        return "the values are equal, bits are not"
    first = tuple(int(index) for index in places[0])
    return f"{len(places)} of {got.size} elements differ, first {first}: {got[first]!r}, expected {expected[first]!r}"
