"""Blocks of rows, and parts merged into one, against dictionaries."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fastals.core.validation import check_rows
from fastals.tables import store_merge
from fastals.tables.store_files import SideWriter, map_array
from fastals.tables.store_merge import RepeatedPairError, merged_pairs, row_blocks, write_pairs


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 20))
def test_blocks_hold_whole_rows_and_no_more_than_they_may(counts, most):
    starts = np.concatenate(([0], np.cumsum(counts)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_merge, "ENTRIES", most)
        blocks = list(row_blocks(starts))
    assert [block[0] for block in blocks] == [0, *(block[1] for block in blocks[:-1])]
    assert blocks[-1][1] == len(counts)
    assert all(last == first + 1 or starts[last] - starts[first] <= most for first, last in blocks)


matrices = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.sampled_from([1.0, 2.0, -1.0])), max_size=20)


@pytest.mark.parametrize("rule", ["sum", "max", "last"])
@given(parts=st.lists(matrices, min_size=1, max_size=3), most=st.integers(1, 8))
def test_parts_are_merged_as_dictionaries_would_be(tmp_path_factory, rule, parts, most):
    expected: dict[tuple[int, int], float] = {}
    rows = []
    for number, entries in enumerate(parts):
        shape = (6 + number, 5 + number)
        once = {(row, column): value for row, column, value in entries}
        places = np.array(sorted(once), int).reshape(-1, 2)
        values = [once[place] for place in sorted(once)]
        rows.append(check_rows(sp.coo_array((values, places.T), shape=shape), "part")[0])
        for place, value in once.items():
            old = expected.get(place)
            merged = {"sum": sum, "max": max, "last": lambda pair: pair[-1]}[rule]
            expected[place] = value if old is None else merged([old, value])
    folder = tmp_path_factory.mktemp("merged")
    shape = rows[-1].shape
    with pytest.MonkeyPatch.context() as patch, SideWriter(folder / "by_user", np.float64, False) as writer:
        patch.setattr(store_merge, "ENTRIES", most)
        for pairs in merged_pairs(rows, None, shape):
            write_pairs(writer, pairs, rule, np.dtype(np.float64))
        specs = writer.finish()
    indptr, indices, values = (
        map_array(folder / f"by_user/{name}.npy", specs[f"by_user/{name}"]) for name in ("indptr", "indices", "values")
    )
    got = sp.csr_array((np.broadcast_to(values, indices.shape) if len(values) else np.zeros(0), indices, indptr), shape)
    dense = np.zeros(shape)
    for place, value in expected.items():
        dense[place] = value
    assert_array_equal(got.toarray(), dense)
    assert got.nnz == np.count_nonzero(dense)
    assert got.has_canonical_format


def test_a_pair_that_must_not_be_repeated_is_named(tmp_path):
    part = check_rows(sp.csr_array([[0, 1.0], [2, 0]]), "part")[0]
    (pairs,) = merged_pairs([part, part], None, part.shape)
    with SideWriter(tmp_path / "by_user", np.float32, False) as writer, pytest.raises(RepeatedPairError) as caught:
        write_pairs(writer, pairs, "error", np.dtype(np.float32))
    assert caught.value.place == (0, 1)
