"""Where shards come from."""

import numpy as np
import pytest
import scipy.sparse as sp
from serial_executor import SerialExecutor

from fastals import InteractionStore
from fastals.distributed import build_store, sources
from fastals.distributed.sources import Table, bounds_of, sources_of


def loaded(found):
    return [found.load(*row) for row in zip(*found.arguments, strict=True)]


def matrix_of(pieces):
    return sp.vstack([piece.rows.as_csr(np.dtype(np.float64)) for piece in pieces]).toarray()


def test_bounds_follow_from_the_data_alone():
    indptr = np.arange(0, 1001 * 20, 20)
    bounds = bounds_of(indptr, 50, 3000)
    assert len(bounds) == 9  # a power of two, and no shard of more pairs than were asked for
    assert np.diff(indptr[bounds]).max() <= 3000
    assert bounds[0] == 0
    assert bounds[-1] == 1000
    assert len(bounds_of(indptr, 50, None)) == 2
    assert len(bounds_of(np.array([0, 5]), 50, 1)) == 2  # one user is one shard


def test_more_pairs_and_more_items_make_larger_shards(monkeypatch):
    indptr = np.arange(0, 2**14 + 1, 4)
    monkeypatch.setattr(sources, "PAIRS", 2**8)
    assert len(bounds_of(indptr, 1, None)) == 65
    assert len(bounds_of(indptr, 2**4, None)) == 17
    monkeypatch.setattr(sources, "MOST", 4)
    assert len(bounds_of(indptr, 1, None)) == 5


def test_matrices_stores_and_chunks_hold_the_same_pairs(plays, tmp_path):
    store = InteractionStore.build(plays, tmp_path / "store")
    for data in (plays, store, store.path, [plays[:100], plays[100:]]):
        found = sources_of(data, None, 400)
        np.testing.assert_array_equal(matrix_of(loaded(found)), plays.toarray())
        rows = found.rows(SerialExecutor(found.shards))
        np.testing.assert_array_equal(rows.as_csr(np.dtype(np.float64)).toarray(), plays.toarray())


def test_preferences_stay_with_their_pairs(plays, tmp_path):
    preference = plays.copy()
    preference.data = np.arange(plays.nnz, dtype=float)
    store = InteractionStore.build(plays, tmp_path / "store")
    for data in (plays, store):
        pieces = loaded(sources_of(data, preference, 400))
        np.testing.assert_array_equal(np.concatenate([piece.phi for piece in pieces]), preference.data)
    with pytest.raises(ValueError, match="with a matrix or a store"):
        sources_of([plays], preference, None)


def test_what_is_no_source_is_told(plays, tmp_path):
    pd = pytest.importorskip("pandas")
    for data, error, message in (
        (3, TypeError, "a dask array or a list of CSR chunks; got int 3"),
        ([], TypeError, "list of CSR chunks"),
        (pd.DataFrame({"user": [1]}), ValueError, "user_items is a table, .* pass store="),
        (tmp_path, ValueError, "of pairs that a store must number: pass store="),
        (plays * 0, ValueError, "at least one stored value"),
    ):
        with pytest.raises(error, match=message):
            sources_of(data, None, None)
    with pytest.raises(ValueError, match="pairs_per_shard must be >= 1"):
        sources_of(plays, None, 0)


def test_a_store_that_has_changed_is_opened_anew(plays, tmp_path):
    path = tmp_path / "store"
    store = InteractionStore.build(plays, path)
    loaded(sources_of(store, None, None))
    store.append([([0], [89], [7.0])])
    pieces = loaded(sources_of(InteractionStore.open(path), None, None))
    assert matrix_of(pieces)[0, 89] == plays.toarray()[0, 89] + 7


def test_a_dask_table_becomes_a_store(tmp_path):
    dd = pytest.importorskip("dask.dataframe")
    import pandas as pd

    table = pd.DataFrame({"who": ["a", "b", "a", "c"], "what": [1, 1, 2, 3], "plays": [1.0, 2.0, 3.0, 4.0]})
    store = build_store(
        dd.from_pandas(table, npartitions=2), tmp_path / "store", user="who", item="what", value="plays"
    )
    assert store.shape == (3, 3)
    assert store.to_matrix().toarray()[store.user_index("a"), store.item_index(2)] == 3.0
    columns = {"user": "who", "item": "what", "value": "plays"}
    table.to_parquet(tmp_path / "plays.parquet")
    for number, given in enumerate((dd.from_pandas(table, npartitions=2), table, tmp_path / "plays.parquet")):
        found = sources_of(given, None, None, Table(tmp_path / f"store{number}", columns))
        np.testing.assert_array_equal(matrix_of(loaded(found)), store.to_matrix().toarray())
        assert InteractionStore.open(tmp_path / f"store{number}").user_ids.tolist() == store.user_ids.tolist()
    with pytest.raises(TypeError, match="columns must be a mapping"):
        sources_of(table, None, None, Table(tmp_path / "store3", ["who"]))
    for useless in (Table(tmp_path / "store3"), Table(columns=columns)):
        with pytest.raises(ValueError, match="store and columns are for a table of pairs"):
            sources_of(sp.csr_matrix(np.eye(3)), None, None, useless)
    with pytest.raises(FileExistsError, match="store1"):
        sources_of(table, None, None, Table(tmp_path / "store1", columns))
    with pytest.raises(TypeError, match="frame must be a dask DataFrame"):
        build_store(table, tmp_path / "other")
