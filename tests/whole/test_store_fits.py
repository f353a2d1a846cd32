"""Models fitted from a store: the same bits as from memory, and nothing of the data in memory."""

import copy
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal

from fastals import ImplicitALS, InteractionStore
from fastals.callbacks import ValidationCallback
from fastals.datasets.synthetic import make_interactions
from fastals.evaluation import (
    leave_k_out_split,
    ranking_metrics_at_k,
    strong_generalization_split,
    temporal_split,
    train_test_split,
)
from fastals.persistence.checkpoint import Checkpoint
from fastals.tables.interactions import Interactions
from fastals.tuning import tune


@pytest.fixture(scope="module")
def matrix():
    """Counts, dislikes and an empty row among them."""
    made = make_interactions(120, 60, n_groups=3, mean_per_user=9, random_state=0).user_items.tolil()
    made[3] = 0
    made[5, 7], made[6, 7] = -2, -1
    return sp.csr_array(made)


@pytest.fixture(scope="module")
def store(matrix, tmp_path_factory):
    return InteractionStore.build(matrix, tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def ones(matrix, tmp_path_factory):
    """The same pairs, each of value 1: the matrix and the store."""
    equal = sp.csr_array((np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
    return equal, InteractionStore.build(equal, tmp_path_factory.mktemp("ones") / "store")


def assert_same(got, expected):
    assert_array_equal(got.user_factors, expected.user_factors)
    assert_array_equal(got.item_factors, expected.item_factors)
    assert got.loss_history == expected.loss_history
    assert got.alpha_ == expected.alpha_


CHOICES = [
    {},
    {"confidence": "log", "epsilon": 0.5},
    {"confidence": "raw", "alpha": 3.0},
    {"objective": "rendle", "unobserved_weight": 0.1, "regularization_exponent": 1.0},
    {"solver": "cholesky"},
    {"dtype": "float64"},
    {"acceleration": False, "num_threads": 1},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_factors_are_those_of_the_matrix_in_memory(matrix, store, choice):
    def model():
        return ImplicitALS(6, iterations=4, random_state=0, **choice)

    got, expected = model().fit(store), model().fit(matrix)
    assert_same(got, expected)
    assert got.loss(store) == expected.loss(matrix)


def test_equal_values(ones):
    got, expected = (ImplicitALS(6, iterations=3, random_state=0).fit(data) for data in (ones[1], ones[0]))
    assert_same(got, expected)


def test_separate_preferences(matrix, store):
    preference = matrix.copy()
    preference.data = np.random.default_rng(0).random(matrix.nnz)
    got = ImplicitALS(6, iterations=3, random_state=0).fit(store, preference=preference)
    assert_same(got, ImplicitALS(6, iterations=3, random_state=0).fit(matrix, preference=preference))
    with pytest.raises(ValueError, match="preference must have the stored pattern of user_items"):
        ImplicitALS(6).fit(store, preference=matrix[:, ::-1])


def test_the_data_stay_on_the_disk(store):
    """The model's rows are the store's maps, weights have no memory of their own, and the store is left as it was."""
    before = sorted(path.name for path in store.path.rglob("*"))
    model = ImplicitALS(6, iterations=2, random_state=0).fit(store)
    history = model._state.history
    for axis, rows in ((0, store.rows), (1, store.rows.disk.columns)):
        assert all(
            np.shares_memory(got, mapped) for got, mapped in zip(history.oriented(axis)[:3], rows[:3], strict=True)
        )
    assert sorted(path.name for path in store.path.rglob("*")) == before


def test_weights_are_written_to_the_disk(store, monkeypatch):
    asked = []
    room = store.rows.disk.room
    from fastals.objective import Objective
    from fastals.solver.sides import build_sides

    def noted(size, dtype):
        asked.append(room(size, dtype))
        return asked[-1]

    columns = store.rows.disk.columns
    rows = store.rows._replace(
        disk=store.rows.disk._replace(room=noted, columns=columns._replace(disk=columns.disk._replace(room=noted)))
    )
    objective = Objective("hu", "linear", 2.0, 1.0, 1.0, 0.5, 0.5, 0.5)
    users, items = build_sides(objective, rows, None, np.dtype(np.float32))
    arrays = (users.entries.weight, users.entries.preference, items.entries.weight, items.entries.preference)
    assert [array.ctypes.data for array in asked] == [array.ctypes.data for array in arrays]
    expected = build_sides(objective, rows.in_memory(), None, np.dtype(np.float32))
    for got, side in zip((users, items), expected, strict=True):
        assert_array_equal(got.entries.weight, side.entries.weight)
        assert_array_equal(got.entries.preference, side.entries.preference)


def test_serving_is_that_of_the_matrix(matrix, store):
    got, expected = (ImplicitALS(6, iterations=3, random_state=0).fit(data) for data in (store, matrix))
    users = np.arange(matrix.shape[0])
    for call in (
        lambda model, data: model.recommend(users, N=5),
        lambda model, data: model.recommend(users, data, N=5, recalculate_user=True),
        lambda model, data: model.recommend(4, N=5),
        lambda model, data: model.similar_items(3, recalculate_item=True),
        lambda model, data: (model.recalculate_user(users), model.recalculate_item(5)),
        lambda model, data: model.explain(4, data, 9)[:2],
        lambda model, data: model.explain(4, itemid=9)[:2],
    ):
        for ours, theirs in zip(call(got, store), call(expected, matrix), strict=True):
            assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="user_items must have shape"):
        got.recommend([1, 2], store)


def test_updates_leave_the_store_alone(matrix, store):
    got, expected = (ImplicitALS(6, iterations=3, random_state=0).fit(data) for data in (store, matrix))
    for model in (got, expected):
        model.partial_fit_users([2, 130], matrix[[7, 8]])
        model.partial_fit_items([1], sp.csr_array(matrix.T)[[4], :])
    assert_array_equal(got.user_factors, expected.user_factors)
    assert_array_equal(got.user_items_.toarray(), expected.user_items_.toarray())
    assert_array_equal(store.to_matrix().toarray(), matrix.toarray())


def test_a_saved_model_holds_the_matrix(matrix, store, tmp_path):
    model = ImplicitALS(6, iterations=2, random_state=0).fit(store)
    model.save(tmp_path / "model", interactions=store)
    for loaded in (ImplicitALS.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same(loaded, model)
        assert_array_equal(loaded.user_items_.toarray(), matrix.toarray())
        assert loaded._state.history.oriented(0).disk is None
    assert_array_equal(ImplicitALS.load(tmp_path / "model").interactions.user_ids, store.user_ids)
    expected = tmp_path / "expected"
    ImplicitALS(6, iterations=2, random_state=0).fit(matrix).save(expected)
    model.save(tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == expected.read_bytes()


def test_a_checkpoint_of_the_one_is_resumed_from_the_other(matrix, store, tmp_path):
    def fail(model, sweep, loss):
        if sweep == 1:
            raise OSError("gone")

    for first, second in ((store, matrix), (matrix, store)):
        checkpoint = Checkpoint(tmp_path / "checkpoint")
        model = ImplicitALS(6, iterations=5, random_state=0)
        with pytest.raises(OSError, match="gone"):
            checkpoint.fit(model, first, callback=fail)
        checkpoint.fit(model, second)
        assert_same(model, ImplicitALS(6, iterations=5, random_state=0).fit(matrix))


def test_an_interrupt_keeps_what_has_been_reached(matrix, store):
    def interrupt(model, sweep, loss):
        if sweep == 1:
            raise KeyboardInterrupt

    models = [ImplicitALS(6, iterations=5, random_state=0) for _ in range(2)]
    for model, data in zip(models, (store, matrix), strict=True):
        with pytest.raises(KeyboardInterrupt):
            model.fit(data, callback=interrupt)
    assert_same(*models)


def test_splits_and_metrics_take_a_store(matrix, tmp_path):
    coo = matrix.tocoo()
    times = np.random.default_rng(0).integers(0, 10**6, matrix.nnz)
    store = InteractionStore.build([(coo.row, coo.col, coo.data, times)], tmp_path / "store")
    kept = matrix[np.diff(matrix.indptr) > 0]  # a table has no empty rows
    kept = sp.csr_array(kept[:, np.bincount(kept.indices, minlength=kept.shape[1]) > 0])
    assert_array_equal(store.times, times)
    for split in (
        lambda data: train_test_split(data, random_state=0),
        lambda data: leave_k_out_split(data, 2, random_state=0),
        lambda data: leave_k_out_split(data, 2, timestamps=times, random_state=0),
        lambda data: temporal_split(data, times, random_state=0),
        lambda data: strong_generalization_split(data, random_state=0)[:3],
    ):
        for got, expected in zip(split(store), split(kept), strict=True):
            assert_array_equal(got.toarray(), expected.toarray())
    train, test = train_test_split(kept, random_state=0)
    model = ImplicitALS(6, iterations=2, random_state=0).fit(train)
    stored = InteractionStore.build(train, tmp_path / "train"), InteractionStore.build(test, tmp_path / "test")
    assert dict(ranking_metrics_at_k(model, *stored)) == dict(ranking_metrics_at_k(model, train, test))
    watched = [ValidationCallback(*stored), ValidationCallback(train, test)]
    for callback, data in zip(watched, (stored[0], train), strict=True):
        ImplicitALS(6, iterations=3, random_state=0).fit(data, callback=callback)
    assert watched[0].best_value == watched[1].best_value > 0


def test_tuning_takes_stores(matrix, tmp_path):
    pytest.importorskip("optuna")
    parts = train_test_split(matrix, random_state=0)
    stored = [
        InteractionStore.build(part, tmp_path / name) for part, name in zip(parts, ("train", "test"), strict=True)
    ]
    options = {"n_trials": 1, "factors": 4, "model": ImplicitALS(iterations=2)}
    assert tune(*stored, **options).best_value == tune(*parts, **options).best_value


def test_threads_share_a_store(store):
    expected, found = ImplicitALS(6, iterations=2, random_state=0).fit(store), []

    def fit():
        found.append(ImplicitALS(6, iterations=2, random_state=0).fit(InteractionStore.open(store.path)))

    threads = [threading.Thread(target=fit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in found:
        assert_same(model, expected)


def test_a_store_appended_to_is_fitted_once_it_is_whole(tmp_path):
    store = InteractionStore.build([([0, 1, 1], [0, 0, 1])], tmp_path / "store")
    store.append([([2], [1])], compact=False)
    with pytest.raises(ValueError, match="call compact"):
        ImplicitALS(2).fit(store)
    assert ImplicitALS(2, random_state=0).fit(store.compact()).user_factors.shape == (3, 2)


def test_a_store_without_pairs(tmp_path):
    store = InteractionStore.build([([1, 1], [2, 2], [1, -1])], tmp_path / "store")
    with pytest.raises(ValueError, match="user_items must have at least one stored value; got none"):
        ImplicitALS(2).fit(store)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gowalla", "ml-1m-ncf"])
@pytest.mark.parametrize("way", ["cg", "cholesky"])
def test_real_data_from_a_file_are_those_of_memory(tmp_path, name, way):
    """Built from text by the database, fitted from the disk: Gowalla (equal values) and MovieLens 1M (ratings)."""
    path = Path(__file__).parents[3] / "shared" / "data" / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{name} is not at hand")
    with np.load(path, allow_pickle=False) as data:
        columns = [data[f"train_{column}"] for column in ("user", "item", "value") if f"train_{column}" in data.files]
    np.savetxt(tmp_path / "pairs.csv", np.column_stack(columns), fmt="%g", delimiter=",")
    store = InteractionStore.build(tmp_path / "pairs.csv", tmp_path / "store", memory_limit="256MiB")
    matrix = Interactions.from_arrays(*columns).user_items
    got, expected = (ImplicitALS(32, iterations=3, solver=way, random_state=0).fit(data) for data in (store, matrix))
    assert_same(got, expected)


NEWS = {
    "faded": ((120, 60), {"rule": "decay", "half_life": 1.0, "elapsed": 2.0}),
    "faded away": ((120, 60), {"rule": "decay", "half_life": 1.0, "elapsed": 5000.0}),
    "more items": ((120, 62), {}),
    "more users": ((121, 60), {}),
}


@pytest.mark.parametrize("sweeps", [0, 2])
@pytest.mark.parametrize("pairs", [0, 1])
@pytest.mark.parametrize("news", NEWS)
def test_updates_are_those_of_the_matrix_in_memory(matrix, store, news, pairs, sweeps):
    """What the store has of the items fades and grows with what it has of the users."""
    shape, arguments = NEWS[news]
    new = sp.coo_array((np.full(pairs, 3.0), (np.full(pairs, 2), np.full(pairs, 5))), shape=shape)
    got, expected = (ImplicitALS(6, iterations=2, random_state=0).fit(data) for data in (store, matrix))

    for model in (got, expected):
        model.update(new, sweeps=sweeps, **arguments)

    assert_same(got, expected)
    assert (got.user_items_ != expected.user_items_).nnz == 0
    for item in (5, 7):
        assert_array_equal(got.recalculate_item(item), expected.recalculate_item(item))
    for model in (got, expected):
        model.partial_fit_items([0], sp.csr_array(np.eye(1, shape[0])))
    assert (got.user_items_ != expected.user_items_).nnz == 0
