"""Ctrl-C: heard within a fraction of a second of work, and what it leaves can be used."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from fastals import ImplicitALS
from fastals.evaluation import ranking_metrics_at_k
from fastals.serving import top_items as ranking
from fastals.solver import threads
from fastals.solver.threads import launches


@pytest.mark.parametrize("work", [0.0, 1e9, 1e11, 1e15])
@pytest.mark.parametrize(("pieces", "each"), [(0, 1), (1, 1), (7, 2), (1000, 1), (1000, 4)])
def test_launches_are_short_but_have_pieces_for_every_thread(pieces, work, each):
    got = list(launches(pieces, work, 1, each))

    assert [number for part in got for number in range(part.start, part.stop)] == list(range(pieces))
    for part in got:
        size = part.stop - part.start
        assert len(got) == 1 or size >= each
        assert size <= max(each, 1) * 2 or work * size / pieces <= threads.LAUNCH_FLOPS * 2


def test_nothing_depends_on_the_launches(ratings, monkeypatch):
    def everything():
        found = []
        for solver in ("cg", "cholesky"):
            model = ImplicitALS(8, iterations=4, solver=solver, random_state=0, num_threads=1).fit(ratings)
            found += [model.user_factors, model.item_factors, model.loss_history, model.loss(ratings)]
            found += model.recommend(np.arange(30))
            found.append(
                ranking_metrics_at_k(model, ratings, ratings, K=3, filter_train=False, auc=True).per_user["auc"]
            )
        return found

    monkeypatch.setattr(ranking, "_SERIAL_WORK", 0)
    expected = everything()
    counts = []
    monkeypatch.setattr(threads, "LAUNCH_FLOPS", 1.0)
    monkeypatch.setattr(ranking, "_LAUNCH_WORK", 1)
    run_in_parallel = ranking.run_in_parallel
    monkeypatch.setattr(
        ranking,
        "run_in_parallel",
        lambda kernel, blocks, queries, *rest: (
            counts.append(len(queries)) or run_in_parallel(kernel, blocks, queries, *rest)
        ),
    )
    got = everything()

    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert max(counts) == ranking.kernels.TILE_QUERIES


def test_before_the_first_half_sweep_the_earlier_fit_stays(ratings, monkeypatch):
    from fastals.solver import sweeps as training

    def interrupt(*arguments):
        raise KeyboardInterrupt

    model = ImplicitALS(4, iterations=2, random_state=0).fit(ratings)
    expected, factors = model.recommend(0), model.item_factors
    monkeypatch.setattr(training, "solve_side", interrupt)

    with pytest.raises(KeyboardInterrupt):
        model.fit(ratings[:20])
    with pytest.raises(KeyboardInterrupt):
        model.fit(ratings, item_factors=factors)  # whose first step solves the users

    assert model.item_factors is factors
    assert len(model.loss_history) == 2
    np.testing.assert_array_equal(model.recommend(0), expected)


# Work without end, which a signal from outside interrupts at any time.
SCRIPT = """
import signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process of a shell ignores it
import numba, numpy as np, scipy.sparse as sp
from fastals import ImplicitALS
from fastals.solver.threads import parallel

def fit(solver):
    def tell(model, sweep, loss):
        if sweep == 2:
            print("under way", flush=True)
    ImplicitALS.fit(model, R, callback=tell)

def recommend(solver):
    model.iterations = 3
    model.fit(R)
    everyone = np.arange(R.shape[0])
    model.recommend(everyone[:2000])
    print("under way", flush=True)
    while True:
        model.recommend(everyone)

what, solver = sys.argv[1:]
random = np.random.default_rng(0)
R = sp.csr_array(sp.random(8000, 5000, 0.002, dtype=np.float32, random_state=random))
model = ImplicitALS(64, iterations=10**9, solver=solver, random_state=0)
before = numba.get_num_threads()
try:
    globals()[what](solver)
except KeyboardInterrupt:
    print("interrupted", flush=True)
assert len(model.loss_history) >= 3
assert np.isfinite(model.loss(R))
for found in (model.user_factors, model.item_factors, model.recommend(np.arange(8000))[1]):
    assert np.isfinite(found).all()
assert numba.get_num_threads() == before

def enter():
    with parallel(1) as count:
        print("free", count)

other = threading.Thread(target=enter)
other.start()
other.join()
model.set_params(iterations=2, warm_start=True)
lowest = min(model.loss_history)
assert model.fit(R).loss_history[-1] <= lowest * (1 + 1e-4)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
@pytest.mark.parametrize(("what", "solver"), [("fit", "cg"), ("fit", "cholesky"), ("recommend", "cg")])
def test_signal_from_outside(what, solver):
    command = [sys.executable, "-W", "error", "-c", SCRIPT, what, solver]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "under way\n", process.stderr.read()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=120)
        finally:
            process.kill()

    assert process.returncode == 0, errors
    assert errors == ""
    assert output.splitlines() == ["interrupted", "free 1"]
