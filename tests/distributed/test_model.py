"""The distributed model on worker processes: the same bits for any number of them, and what is asked of it then."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from serial_executor import sharded_fit

import fastals.distributed.executor
from fastals import ImplicitALS, InteractionStore
from fastals.checkpoint import Checkpoint
from fastals.core.parameters import NotFittedError
from fastals.distributed import DaskImplicitALS

pytestmark = pytest.mark.slow  # kernels of shards are compiled, or clusters started

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def store(plays, tmp_path_factory):
    return InteractionStore.build(plays, tmp_path_factory.mktemp("data") / "store")


@pytest.fixture(scope="module")
def expected(plays):
    """Of one process that takes shard after shard."""
    model = DaskImplicitALS(
        6, iterations=4, regularization=2.0, regularization_exponent=0.5, random_state=0, pairs_per_shard=400
    )
    return sharded_fit(model, plays)


def assert_same(model, expected):
    training, P = expected
    np.testing.assert_array_equal(model.item_factors, training.items.factors)
    np.testing.assert_array_equal(model.user_factors, P)
    assert model.loss_history == training.loss_history


def test_two_workers_make_the_factors_of_one_process(client, plays, make, expected):
    model = make().fit(plays)
    assert_same(model, expected)
    assert model.n_shards_ == len(expected[0].users.shards.references) > 4
    assert model.alpha_ == expected[0].objective.alpha
    assert model.unobserved_exponent_ == model.to_local().unobserved_exponent_ == expected[0].exponents


def test_any_number_of_workers_makes_the_same_bits(cluster, client, store, make, expected):
    for workers in (1, 4, 2):
        cluster.scale(workers)
        client.wait_for_workers(workers, timeout=60)
        wait_until(lambda count=workers: len(client.nthreads()) == count)
        assert_same(make().fit(store), expected)


def wait_until(condition, seconds=60):
    import time

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_stores_matrices_and_chunks_are_taken(client, plays, store, make, expected):
    for data in (store, store.path, str(store.path)):
        assert_same(make().fit(data), expected)
    bounds = expected[0].users.shards.bounds
    chunks = [plays[first:last] for first, last in itertools.pairwise(bounds)]
    import dask

    futures = client.scatter(chunks)
    for data in (chunks, futures, [dask.delayed(chunk) for chunk in chunks]):
        assert_same(make().fit(data), expected)


def test_dask_arrays_are_taken(client, plays, make):
    da = pytest.importorskip("dask.array")
    import dask

    parts = [plays[:150], plays[150:]]
    blocks = [da.from_delayed(dask.delayed(part), part.shape, part.dtype, meta=np.empty((0, 0))) for part in parts]
    model = make(iterations=2).fit(da.concatenate(blocks))
    training, _ = sharded_fit(make(iterations=2), parts)
    np.testing.assert_array_equal(model.item_factors, training.items.factors)
    assert model.n_shards_ == 2


def test_a_local_model_comes_of_it(client, store, plays, make):
    model = make().fit(store)
    local = model.to_local()

    assert type(local) is ImplicitALS
    assert local.loss(plays) == pytest.approx(model.loss_history[-1], rel=1e-6)
    np.testing.assert_array_equal(local.user_items_.toarray(), store.to_matrix().toarray())
    np.testing.assert_array_equal(local.user_factors, model.user_factors)
    assert "bytes_per_sweep" not in local.solver_report_
    ids, scores = model.recommend(N=5)
    expected_ids, expected_scores = local.recommend(np.arange(300), N=5)
    np.testing.assert_array_equal(ids.compute(), expected_ids)
    np.testing.assert_array_equal(scores.compute(), expected_scores)
    assert ids.shape == (300, 5)
    some, _ = model.recommend(N=200, filter_already_liked_items=False, filter_items=[3], items=[1, 2, 3])
    np.testing.assert_array_equal(
        some.compute(), local.recommend(np.arange(300), None, 90, False, [3], items=[1, 2, 3])[0]
    )
    for chosen in (3, [1, 2]):
        np.testing.assert_array_equal(local.recalculate_user(chosen), local.user_factors[chosen])


def test_user_factors_are_written_shard_by_shard(client, plays, make, tmp_path):
    model = make(iterations=2).fit(plays)
    files = model.write_user_factors(tmp_path / "factors")
    assert len(files) == model.n_shards_
    np.testing.assert_array_equal(np.concatenate([np.load(file) for file in files]), model.user_factors)


def test_callbacks_stop_and_see_their_sweep(client, plays, make, expected):
    seen = []

    def callback(model, sweep, loss):
        seen.append((sweep, loss, model.item_factors))
        assert model is not fitted
        assert model.loss_history[-1] == loss
        return sweep == 1

    fitted = make(iterations=6)
    fitted.fit(plays, callback=callback)

    assert [sweep for sweep, *_ in seen] == [0, 1]
    assert [loss for _, loss, _ in seen] == expected[0].loss_history[:2]
    with pytest.raises(RuntimeError, match="no fit is running"):
        fitted.training_state()


def test_checkpoints_are_resumed(client, plays, make, expected, tmp_path):
    def fail(model, sweep, loss):
        if sweep == 1:
            raise OSError("gone")

    checkpoint = Checkpoint(tmp_path / "checkpoint")
    with pytest.raises(OSError, match="gone"):
        checkpoint.fit(make(), plays, callback=fail)
    assert (tmp_path / "checkpoint").stat().st_size < 20_000  # the items alone

    assert_same(checkpoint.fit(make(), plays), expected)
    assert not (tmp_path / "checkpoint").exists()


def test_an_interrupt_keeps_what_has_been_reached(client, plays, make, expected):
    def interrupt(model, sweep, loss):
        if sweep == 1:
            raise KeyboardInterrupt

    model = make()
    with pytest.raises(KeyboardInterrupt):
        model.fit(plays, callback=interrupt)
    assert model.loss_history == expected[0].loss_history[:2]


def test_warm_starts_go_on(client, plays, make):
    model = make(warm_start=True, iterations=3).fit(plays)
    before = model.loss_history[-1]
    assert model.fit(plays).loss_history[0] < before


def test_the_report_tells_what_was_sent_and_when(client, plays, make):
    report = make().fit(plays).solver_report_
    assert {"cg_steps", "bytes_per_sweep", "seconds_users", "seconds_items_steps", "seconds_load"} <= set(report)
    assert 0 < report["bytes_per_sweep"] < 10**6


@pytest.mark.parametrize(("few", "sums"), [(4, set()), (0, {"items-product-sum"})])
def test_tasks_have_names(client, plays, make, few, sums, monkeypatch):
    monkeypatch.setattr(fastals.distributed.executor, "FEW", few)
    make(iterations=1).fit(plays)
    prefixes = client.run_on_scheduler(lambda dask_scheduler: sorted(dask_scheduler.task_prefixes))
    assert {"users-solve", "items-product", "items-rotate", "load", "weigh", *sums} <= set(prefixes)


def test_what_does_not_fit_is_refused(client, plays, make):
    with pytest.raises(ValueError, match="user_features must have shape"):
        make().fit(plays, user_features=np.ones((299, 1)))
    with pytest.raises(TypeError, match="callback must be callable"):
        make().fit(plays, callback=3)
    with pytest.raises(TypeError, match=r"client must be a distributed\.Client; got int 3"):
        make(client=3).fit(plays)
    with pytest.raises(NotFittedError, match="DaskImplicitALS is not fitted"):
        make().recommend()


def test_no_client(plays, make):
    with pytest.raises(ValueError, match="no Dask client"):
        make().fit(plays)


def test_parameters_are_those_of_the_local_model(make):
    ours, theirs = (model().get_params() for model in (DaskImplicitALS, ImplicitALS))
    assert {**theirs, "client": None, "pairs_per_shard": None} == ours
    assert repr(DaskImplicitALS(8, alpha=2.0)) == "DaskImplicitALS(factors=8, alpha=2.0)"
    assert pickle.loads(pickle.dumps(make())).get_params() == make().get_params()


def test_copies_and_pickles(client, plays, make):
    model = make(iterations=1).fit(plays)
    assert copy.copy(model).loss_history == model.loss_history
    with pytest.raises(TypeError, match="pickle what to_local"):
        pickle.dumps(model)


def test_a_failed_fit_leaves_the_earlier_one(client, plays, make):
    model = make(iterations=1).fit(plays)
    factors = model.item_factors
    with pytest.raises(ValueError, match="regularization"):
        model.set_params(regularization=-1).fit(plays)
    with pytest.raises(ValueError, match="a chunk of user_items must be finite"):
        model.set_params(regularization=1.0).fit([sp.csr_array(np.full((3, 4), np.nan))])
    np.testing.assert_array_equal(model.item_factors, factors)
