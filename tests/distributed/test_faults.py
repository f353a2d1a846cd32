"""Workers killed, added and damaged data: the same bits, or an error that says what is lost."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from serial_executor import sharded_fit
from workers import settle

from fastals import InteractionStore
from fastals.checkpoint import Checkpoint
from fastals.distributed import DaskImplicitALS
from fastals.distributed.executor import DaskExecutor, WorkersChangedError

pytestmark = pytest.mark.slow  # kernels of shards are compiled, or clusters started

distributed = pytest.importorskip("distributed")


@pytest.fixture
def during(monkeypatch):
    """``during(name, number, action)``: act while the number-th sum of that name is under way."""

    def arrange(name, number, action):
        total, left = DaskExecutor.total, [number]

        def watched(executor, called, *arguments):
            if called == name:
                left[0] -= 1
                if left[0] == 0:
                    threading.Timer(0.01, action).start()
            return total(executor, called, *arguments)

        monkeypatch.setattr(DaskExecutor, "total", watched)
        return left

    return arrange


def kill_one(client):
    pids = client.run(os.getpid)
    os.kill(next(iter(pids.values())), signal.SIGKILL)


def test_a_worker_that_is_lost_between_its_work_and_the_answer(cluster, client):
    """Its results are made nowhere else: this is told, instead of waiting for them."""
    executor = DaskExecutor(client, 4)
    with executor.placed():
        made = executor.map("made", np.full, [10] * 4, [1.0, 2.0, 3.0, 4.0])
        distributed.wait(made)
        kill_one(client)
        with pytest.raises(WorkersChangedError, match="a worker was lost"):
            executor.gather(made)


@pytest.mark.parametrize(("name", "number"), [("items-product", 5), ("items-gramian", 3)])
def test_a_killed_worker_changes_no_bit(cluster, client, plays, make, during, name, number):
    """Neither in the middle of the items' steps, nor with the users' factors that it held."""
    expected, P = sharded_fit(make(iterations=5), plays)
    pids = set(client.run(os.getpid).values())
    left = during(name, number, lambda: kill_one(client))

    model = make(iterations=5).fit(plays)

    assert left[0] < 0
    np.testing.assert_array_equal(model.item_factors, expected.items.factors)
    np.testing.assert_array_equal(model.user_factors, P)
    assert model.loss_history == expected.loss_history
    settle(cluster, client)  # now and then Dask gives a worker up that was killed, and asks for no other
    assert set(client.run(os.getpid).values()) != pids


def test_a_killed_worker_changes_no_bit_of_a_fit_with_features(client, plays, make, during):
    """Neither in the sum that the effects follow from, nor with the rows of features that it held."""
    random = np.random.default_rng(0)
    given = {"user_features": random.random((300, 3)), "item_features": random.random((90, 2))}
    expected, P = sharded_fit(make(iterations=5), plays, **given)
    left = during("users-effects", 3, lambda: kill_one(client))

    model = make(iterations=5).fit(plays, **given)

    assert left[0] < 0
    np.testing.assert_array_equal(model.item_factors, expected.items.factors)
    np.testing.assert_array_equal(model.user_factors, P)
    np.testing.assert_array_equal(model.feature_effects_[0], expected.users.effects.array)
    assert model.loss_history == expected.loss_history


def test_a_slow_worker_is_waited_for_and_changes_no_bit(client, plays, make, during):
    """It stands still for two seconds in the middle of the items' steps."""
    expected, P = sharded_fit(make(iterations=5), plays)
    pids = client.run(os.getpid)
    slow, woken = next(iter(pids.values())), threading.Event()

    def wake():
        os.kill(slow, signal.SIGCONT)
        woken.set()

    def stop():
        os.kill(slow, signal.SIGSTOP)
        threading.Timer(2, wake).start()

    left = during("items-product", 5, stop)
    try:
        model = make(iterations=5).fit(plays)
        assert woken.is_set()  # it could not end before
    finally:
        os.kill(slow, signal.SIGCONT)
    assert left[0] < 0
    np.testing.assert_array_equal(model.item_factors, expected.items.factors)
    np.testing.assert_array_equal(model.user_factors, P)
    assert model.loss_history == expected.loss_history
    assert client.run(os.getpid) == pids


def test_all_workers_killed_between_sweeps_change_no_bit(cluster, client, plays, make):
    """Users' factors are solved again from the items' of the last sweep."""
    expected, P = sharded_fit(make(iterations=4), plays)

    def kill_all(model, sweep, loss):
        if sweep == 2:
            for pid in client.run(os.getpid).values():
                os.kill(pid, signal.SIGKILL)

    model = make(iterations=4).fit(plays, callback=kill_all)

    np.testing.assert_array_equal(model.item_factors, expected.items.factors)
    np.testing.assert_array_equal(model.user_factors, P)


def test_an_added_worker_takes_its_share_and_changes_no_bit(cluster, client, plays, make):
    expected, P = sharded_fit(make(iterations=5), plays)
    holders = []

    def add(model, sweep, loss):
        solved = {future.key for future in model._fit.users}
        holders.append({place for key, places in client.who_has().items() if key in solved for place in places})
        if sweep == 1:
            cluster.scale(3)
            client.wait_for_workers(3, timeout=60)

    try:
        model = make(iterations=5).fit(plays, callback=add)
    finally:
        cluster.scale(2)
    assert [len(places) for places in holders] == [2, 2, 3, 3, 3]
    np.testing.assert_array_equal(model.item_factors, expected.items.factors)
    np.testing.assert_array_equal(model.user_factors, P)


def test_a_damaged_file_is_named(client, plays, make, tmp_path):
    store = InteractionStore.build(plays, tmp_path / "store")
    folder = next(path for path in store.path.iterdir() if path.is_dir())
    file = folder / "by_user" / "indices.npy"
    content = bytearray(file.read_bytes())
    content[-4:] = b"\xff\xff\xff\x7f"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"indices\.npy: this file of a store is damaged"):
        make().fit(InteractionStore.open(store.path))
    file.write_bytes(content[:-8])
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    with pytest.raises(ValueError, match=r"indices\.npy: this file of a store is damaged"):
        make().fit(store.path)


def test_a_lost_scheduler_is_told_and_the_checkpoint_is_good(plays, make, tmp_path, client):
    expected, P = sharded_fit(make(iterations=5), plays)
    processes, other = start_cluster(tmp_path)
    checkpoint = Checkpoint(tmp_path / "checkpoint")

    def kill_scheduler(model, sweep, loss):
        if sweep == 2:
            os.kill(processes[0].pid, signal.SIGKILL)

    try:
        with pytest.raises(ConnectionError, match=r"scheduler at tcp://.* is lost"):
            checkpoint.fit(make(iterations=5, client=other), plays, callback=kill_scheduler)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        other.close(timeout=1)
    assert len(checkpoint.load().loss_history) == 3
    model = checkpoint.fit(make(iterations=5, client=client), plays)
    np.testing.assert_array_equal(model.item_factors, expected.items.factors)
    np.testing.assert_array_equal(model.user_factors, P)


def start_cluster(folder):
    """A scheduler and a worker, processes of their own, and a client of theirs."""
    file = str(folder / "scheduler.json")
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", file, "--port", "0"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    processes = [subprocess.Popen([*command, "--no-dashboard", "--host", "127.0.0.1"], **quiet)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", file, "--nthreads", "1"]
    processes.append(subprocess.Popen([*worker, "--no-dashboard", "--no-nanny", "--host", "127.0.0.1"], **quiet))
    end = time.monotonic() + 60
    while not os.path.exists(file):
        assert time.monotonic() < end
        time.sleep(0.05)
    client = distributed.Client(scheduler_file=file, timeout=3, set_as_default=False)
    client.wait_for_workers(1, timeout=60)
    return processes, client


def test_models_say_which_scheduler(client):
    from fastals.distributed.executor import address_of

    assert address_of(client).startswith(("tcp://", "inproc://"))
    assert address_of(None) == "an unknown address"
    assert DaskImplicitALS(client=client).client is client
