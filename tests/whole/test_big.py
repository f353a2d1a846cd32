"""Offsets beyond 2^31: every kernel that follows row pointers, on entries that lie behind 2^31 others in sparse files.

The files are holes but for the pages that are used, so neither memory nor disk is. Expected is what the same kernel
makes of the same rows at the beginning of small arrays.
"""

import mmap
import os
from dataclasses import replace

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fastals.core.rows import Rows
from fastals.core.unobserved import ALIKE
from fastals.core.validation import read_only
from fastals.evaluation import metrics
from fastals.kernels.launch import run_in_parallel
from fastals.kernels.metrics import areas_task, ranking_values
from fastals.kernels.rows.row import Entries
from fastals.kernels.sparse import transpose
from fastals.kernels.top_items import walk as ranking_kernels
from fastals.objective import Objective
from fastals.serving.top_items import ItemIndex
from fastals.solver.eigenbasis import eigenbasis
from fastals.solver.half_sweep import Settings, full_loss, solve_side
from fastals.solver.sides import Side, balanced_bounds
from fastals.solver.threads import parallel

pytestmark = pytest.mark.slow

FIRST = 2**31 + 2**20 + 7  # offset of the first entry


@pytest.fixture
def behind(tmp_path):
    """A function that puts an array behind FIRST others of its type, in a file with a hole."""
    maps, number = [], iter(range(100))

    def put(array: np.ndarray) -> np.ndarray:
        path = tmp_path / f"{next(number)}"
        with open(path, "w+b") as file:
            try:
                file.truncate((FIRST + array.size) * array.itemsize)
                file.seek(FIRST * array.itemsize)
                file.write(array.tobytes())
                file.flush()
                if os.stat(path).st_blocks * 512 > 2**24:
                    pytest.skip("the file system keeps no holes")
                maps.append(mmap.mmap(file.fileno(), 0))
            except (OSError, OverflowError, AttributeError) as error:
                pytest.skip(f"no large sparse files here: {error}")
        return read_only(np.frombuffer(maps[-1], array.dtype))

    return put


@pytest.fixture
def rows(ratings) -> Rows:
    return Rows(ratings.indptr.astype(np.int64), ratings.indices.astype(np.int32), ratings.data, ratings.shape)


@pytest.fixture
def index_and_users():
    random = np.random.default_rng(1)
    return ItemIndex.build(random.standard_normal((22, 5), np.float32)), random.standard_normal((30, 5), np.float32)


@pytest.mark.parametrize("solver", ["cg", "cholesky"])
@pytest.mark.parametrize("uniform", [True, False])
def test_half_sweeps_and_loss(rows, behind, solver, uniform):
    objective = Objective("hu", "linear", 2.0, 1.0, 1.0, 0.5, 0.5, 0.0)
    values = np.full(1, 2.0, np.float32) if uniform else rows.data.astype(np.float32)
    phi = np.ones(1, np.float32) if uniform else (rows.data > 2).astype(np.float32)
    lambdas, bounds = np.full(30, 0.5), np.array([0, 10, 30])
    constants = np.float32(1), 0.0, 1.0, ALIKE, ALIKE  # offset, shift, c0, v, w
    # Read-only as ever, which to compiled code is a type: so it is at hand.
    indptr, indices, values, phi = (read_only(array) for array in (rows.indptr, rows.indices, values, phi))
    near = Side(Entries(indptr, indices, values, phi, *constants), lambdas, 0.5, bounds)
    values, phi = (values, phi) if uniform else (behind(values), behind(phi))
    far = Side(Entries(read_only(indptr + FIRST), behind(indices), values, phi, *constants), lambdas, 0.5, bounds)
    Y = np.random.default_rng(0).standard_normal((22, 6), np.float32)
    basis = eigenbasis(Y, np.zeros(22), 1.0, 1)
    got, expected = np.zeros((30, 6), np.float32), np.zeros((30, 6), np.float32)

    reports = [
        solve_side(side, basis, X, objective, Settings(solver, 1e-6, 50, 1))
        for side, X in ((far, got), (near, expected))
    ]

    np.testing.assert_array_equal(got, expected)
    assert reports[0] == reports[1]
    items = replace(near, regularization=np.zeros(22))
    assert full_loss(far, items, got, Y, objective, 1) == full_loss(near, items, got, Y, objective, 1)


@pytest.mark.parametrize("parallel_blocks", [True, False])
def test_ranking_filters(rows, behind, index_and_users, parallel_blocks):
    index, users = index_and_users
    packed = ranking_kernels.Items(index.panels, index.order, index.norms, np.zeros(0, bool), np.float32(np.inf))

    def ranked(indptr, indices):
        ids, scores = np.zeros((30, 4), np.int32), np.zeros((30, 4), np.float32)
        outputs = read_only(indptr), read_only(indices), scores, ids
        if parallel_blocks:
            with parallel(1):
                run_in_parallel(ranking_kernels.rank_block, 2, read_only(users), packed, *outputs)
        else:
            ranking_kernels.rank_block(0, 1, read_only(users), packed, *outputs)
        return ids

    far = rows.indptr + FIRST, behind(rows.indices)

    assert ranking_kernels.rows_sorted(read_only(far[0]), read_only(far[1]))
    np.testing.assert_array_equal(ranked(*far), ranked(rows.indptr, rows.indices))


def test_metrics(rows, behind, index_and_users):
    counts = np.diff(rows.indptr) > 0
    indptr, indices = np.unique(rows.indptr), rows.indices.astype(np.int64)
    far, large = indptr + FIRST, behind(indices)
    ids = np.random.default_rng(2).permuted(np.tile(np.arange(22), (int(counts.sum()), 1)), axis=1)[:, :5]
    discounts = 1 / np.log2(np.arange(2, 7))

    def values(indptr, indices):
        found, recommended = np.zeros((len(ids), 9)), np.zeros(22, bool)
        ranking_values(ids, indptr, indices, discounts, np.cumsum(discounts), np.ones(22), found, recommended)
        return found

    def areas(indptr, indices):
        users, panel = np.zeros((32, 5), np.float32), np.zeros((1, 5, metrics._PANEL_WIDTH), np.float32)
        users[:30], panel[0, :, :22] = index_and_users[1], np.random.default_rng(3).standard_normal((5, 22))
        scores, found = np.zeros((1, 1, 1, 8, metrics._PANEL_WIDTH), np.float32), np.zeros(indptr.size - 1)
        positive, nothing = np.zeros((1, 22), np.float32), (np.zeros(indptr.size, np.int64), np.zeros(0, np.int64))
        areas_task(0, 1, users, (panel, 22), nothing, (indptr, indices), scores, positive, found)
        return found

    for measured in (values, areas):
        expected = measured(indptr, indices)
        assert np.isfinite(expected).all()
        np.testing.assert_array_equal(measured(far, large), expected)


def test_taken_rows(rows, behind):
    indptr = np.concatenate(([0], rows.indptr[1:] + FIRST))  # the first row is what lies before
    far = Rows(indptr, behind(rows.indices), behind(rows.data), (30, 22))

    for ids in (np.array([7]), np.array([5, 2, 9])):
        got, expected = far.taken(ids), rows.taken(ids)
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_ranges_of_rows():
    counts = np.array([2**31 - 5, 17, 2**32, 3, 0, 2**31] * 200)
    indptr = np.concatenate(([0], np.cumsum(counts)))

    bounds = balanced_bounds(indptr)

    assert bounds[0] == 0
    assert bounds[-1] == counts.size
    assert (np.diff(bounds) > 0).all()
    assert np.diff(indptr[bounds]).max() <= indptr[-1] / (bounds.size - 1) + counts.max()


def test_transpose():
    size = 2**31 + 11
    # One element stands for all: of the indices, and of the output that they would fill.
    indices, out = (as_strided(np.full(1, value, np.int32), (size,), (0,)) for value in (1, 7))
    out_indptr = np.zeros(4, np.int64)

    transpose(np.array([2**31 + 2, size - 2, size]), indices, np.ones(1), out_indptr, out, np.zeros(0))

    np.testing.assert_array_equal(out_indptr, [0, 0, size, size])
    assert out[0] == 1  # the row of the last entry
