"""Parts of systems that shards return: their sums are those of the whole rows."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from fastals.core.validation import check_rows
from fastals.distributed import shards as on_shard
from fastals.objective import Objective
from fastals.solver.half_sweep import Settings

R = np.random.default_rng(0).integers(-1, 4, (50, 9)) * (np.random.default_rng(1).random((50, 9)) < 0.5)
R[:, 4] = 0
WEIGHTS = np.random.default_rng(2).random(50) + 0.5, np.random.default_rng(3).random(9) + 0.5
SETTINGS = Settings("cg", 1e-3, 50, 1)
EVERY = np.packbits(np.ones(9, bool))


def shards_of(parts, confidence="linear"):
    objective = Objective("hu", confidence, 2.0, 1.0, 0.5, 1.0, 1.0, 0.0)
    plan = on_shard.Plan(objective, "<f8", 5, WEIGHTS[1], 0.0, 1.0, 0.5, 1.5)
    ends = np.linspace(0, 50, parts + 1).astype(int)
    return [
        on_shard.weigh(on_shard.Piece(check_rows(sp.csr_array(R[a:b]), "R")[0]), plan, WEIGHTS[0][a:b])
        for a, b in itertools.pairwise(ends)
    ], ends


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("confidence", ["linear", "raw"])
def test_sums_are_those_of_dense_matrices(parts, confidence, threads):
    shards, ends = shards_of(parts, confidence)
    settings = SETTINGS.__class__("cg", 1e-3, 50, threads)
    random = np.random.default_rng(4)
    X, P = random.normal(size=(50, 5)), random.normal(size=(9, 5))
    Y = on_shard.padded(X, 16)
    c = 2.0 * np.abs(R) + (0.5 if confidence == "linear" else 0)
    stored, phi = R != 0, R > 0
    extra = np.where(stored, c - 0.5 * np.outer(*WEIGHTS), 0)
    target = np.where(stored, c * phi, 0)

    def summed(function, *arguments):
        found = [
            function(shard, on_shard.own(Y[a:b]), *arguments)
            for shard, a, b in zip(shards, ends, ends[1:], strict=False)
        ]
        return found[0] if parts == 1 else on_shard.add(on_shard.add(*found[:2]), found[2])

    np.testing.assert_allclose(summed(on_shard.rights_of_items, EVERY, settings), target.T @ X, atol=1e-12)
    expected = np.einsum("ui,uj,ij,uk->ik", extra, X, P, X)
    np.testing.assert_allclose(summed(on_shard.products_of_items, (EVERY, P), settings), expected, atol=1e-12)
    A, lines = summed(on_shard.systems_of_items, EVERY, settings)
    whole = np.einsum("ui,uj,uk->ijk", extra, X, X)
    np.testing.assert_allclose(np.triu(A[:, :5, :5]), np.triu(whole), atol=1e-12)
    np.testing.assert_allclose(lines[:, 0, :5], target.T @ X, atol=1e-12)
    np.testing.assert_allclose(lines[:, 1, :5], stored.T @ X**2, atol=1e-12)
    np.testing.assert_allclose(lines[:, 2, 0], (np.abs(extra) * (X**2).sum(axis=1)[:, None]).sum(axis=0), atol=1e-12)
    some = np.packbits(np.arange(9) % 2 == 0)
    np.testing.assert_allclose(summed(on_shard.rights_of_items, some, settings), (target.T @ X)[::2], atol=1e-12)


def test_weights_of_rows_over_shards():
    shards, _ = shards_of(3)
    weighed = on_shard.add_weighed(
        on_shard.add_weighed(*(on_shard.weigh_items(shard, SETTINGS) for shard in shards[:2])),
        on_shard.weigh_items(shards[2], SETTINGS),
    )
    c = 2.0 * np.abs(R) + 0.5
    stored, relative = R != 0, (c - 0.5 * np.outer(*WEIGHTS)) / WEIGHTS[0][:, None]
    np.testing.assert_allclose(weighed[:, 0], np.where(stored, c * (R > 0), 0).sum(axis=0))
    np.testing.assert_allclose(weighed[:, 1], np.maximum(np.where(stored, relative, 0).max(axis=0), 0))
    np.testing.assert_allclose(weighed[:, 2], np.minimum(np.where(stored, relative, 0).min(axis=0), 0), atol=1e-15)
