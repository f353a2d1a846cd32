"""Generated interactions that never change, so that results of different versions can be compared.

The generator is independent of the package. It draws from NumPy's legacy ``RandomState``, whose stream is frozen, and
uses integer arithmetic and correctly rounded operations (division, square root) alone: every platform gives the same
bytes, and a checksum holds them to it.
"""

import hashlib
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp


class Shape(NamedTuple):
    """What is generated: items per user follow Pareto's law of exponent 2, items Zipf's of exponent 3/4 in a group."""

    n_users: int
    n_items: int
    n_groups: int
    mean_per_user: int
    checksum: str


# "films" is like MovieLens 1M (long rows on both sides), "places" like Gowalla (short ones).
SHAPES = {
    "small": Shape(2_000, 1_000, 8, 20, "615f21731be48b1ed5547ee6a8f18988a5765e7dddbad79c0e2b17133f6765d9"),
    "films": Shape(6_000, 3_600, 12, 160, "31807b32513b3eacb2b401decd2a531478034f85b0846a4c039ae8394f7109fe"),
    "places": Shape(30_000, 40_000, 40, 27, "db70865d7b419b3ee69bf387fd2f29a7ff6985f4c4bdec8d5fa9e3c20e2a1659"),
}
OWN_GROUP_SHARE = 0.8
# A plain penalty, and the form and strength that recommend well on such data.
REGIMES = {
    "hu": {
        "objective": "hu",
        "alpha": 10.0,
        "unobserved_weight": 1.0,
        "regularization": 10.0,
        "regularization_exponent": 0.0,
    },
    "rendle": {
        "objective": "rendle",
        "alpha": 1.0,
        "unobserved_weight": 0.02,
        "regularization": 0.003,
        "regularization_exponent": 1.0,
    },
}


class Interactions(NamedTuple):
    """Play counts, float32: those to learn from, and a fifth of all pairs held out."""

    train: sp.csr_array
    test: sp.csr_array


def binary(matrix: sp.csr_array) -> sp.csr_array:
    """The matrix with all stored values 1."""
    return sp.csr_array((np.ones_like(matrix.data), matrix.indices, matrix.indptr), matrix.shape)


class OnFrozenData:
    """Base of benchmarks that get all data as their first argument; asv makes them once for all of these."""

    def setup_cache(self) -> dict[str, Interactions]:
        return {name: interactions(name) for name in SHAPES}


def interactions(name: str) -> Interactions:
    """Training and test matrix of one of the ``SHAPES``."""
    shape = SHAPES[name]
    users, items, counts, tested = _draw(shape)
    checksum = hashlib.sha256(b"".join(part.astype("<i8").tobytes() for part in (users, items, counts, tested)))
    if checksum.hexdigest() != shape.checksum:
        raise RuntimeError(f"the frozen data {name!r} came out differently: {checksum.hexdigest()}")
    train, test = (
        sp.csr_array((counts[part].astype(np.float32), (users[part], items[part])), (shape.n_users, shape.n_items))
        for part in (~tested, tested)
    )
    return Interactions(train, test)


def _draw(shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Users, items and play counts of distinct pairs, in order, and whether each is held out."""
    random = np.random.RandomState(20240229)  # its stream is frozen, that of a Generator is not
    # P(wanted > x) = (mean / 2x)^2, whose mean is as wanted.
    wanted = (shape.mean_per_user / 2 / np.sqrt(1 - random.random_sample(shape.n_users))).astype(np.int64)
    wanted = np.clip(wanted, 1, shape.n_items // 4)
    users = np.repeat(np.arange(shape.n_users), wanted)
    # Items g, g + n_groups, g + 2 n_groups, ... are group g, the most popular ones first.
    home = random.randint(0, shape.n_groups, shape.n_users)[users]
    anywhere = random.randint(0, shape.n_groups, users.size)
    group = np.where(random.random_sample(users.size) < OWN_GROUP_SHARE, home, anywhere)
    rank = np.arange(1.0, shape.n_items // shape.n_groups + 1)
    weight = (2**32 / (np.sqrt(rank) * np.sqrt(np.sqrt(rank)))).astype(np.int64)
    cumulative = np.cumsum(weight)
    drawn = np.searchsorted(cumulative, random.randint(0, cumulative[-1], users.size, dtype=np.int64), side="right")
    pairs = np.unique(users * shape.n_items + drawn * shape.n_groups + group)
    counts = np.minimum(1 / (1 - random.random_sample(pairs.size)), 1000).astype(np.int64)
    tested = random.randint(0, 5, pairs.size) == 0
    return pairs // shape.n_items, pairs % shape.n_items, counts, tested
