"""Random choices that depend on a seed and a name alone: what is added later leaves all other choices as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


class Choices:
    """What a case draws; the same name gives the same choice, whenever it is asked for."""

    def __init__(self, seed: int, scope: str = "") -> None:
        self.seed, self.scope = seed, scope

    def within(self, name: str) -> Choices:
        """Choices of their own, for a second problem in the same case."""
        return Choices(self.seed, f"{self.scope}{name}/")

    def _digest(self, name: str) -> int:
        text = f"{self.seed} {self.scope}{name}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")

    def unit(self, name: str) -> float:
        """Uniform in [0, 1)."""
        return (self._digest(name) >> 11) / 2**53

    def chance(self, name: str, probability: float) -> bool:
        return self.unit(name) < probability

    def integer(self, name: str, low: int, high: int) -> int:
        """Uniform in low .. high, both included."""
        return low + int(self.unit(name) * (high - low + 1))

    def skewed(self, name: str, low: int, high: int) -> int:
        """In low .. high, small ones as often as large ones: the logarithm is uniform."""
        return int(low * ((high + 1) / low) ** self.unit(name))

    def pick(self, name: str, options: Sequence[T]) -> T:
        return options[int(self.unit(name) * len(options))]

    def weighted(self, name: str, options: Mapping[Any, float]) -> Any:
        """One of the keys, in proportion to its value."""
        left = self.unit(name) * sum(options.values())
        for option, weight in options.items():
            left -= weight
            if left < 0:
                return option
        return option

    def generator(self, name: str) -> np.random.Generator:
        """NumPy's generator, for whole arrays."""
        return np.random.default_rng(self._digest(name))
