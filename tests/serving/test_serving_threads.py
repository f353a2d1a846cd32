"""Many Python threads at one model, under every threading layer of Numba that is installed."""

import sys
import threading

import numpy as np
import pytest
from layers import LAYERS, run_under_layer

from fastals import ImplicitALS
from fastals.serving.fitted import Fitted

# Sixteen threads start together on a cold model, each with its own share of all the requests. What they get is held
# against the answers of one thread, taken afterwards from a copy of the model.
SCRIPT = """
import sys, threading
import numba, numpy as np, scipy.sparse as sp
import fastals.serving.top_items
from fastals import ImplicitALS

fastals.serving.top_items._SERIAL_WORK = 0  # batches are ranked in parallel however small they are
sys.setswitchinterval(1e-5)
random = np.random.default_rng(0)
R = sp.csr_array(random.integers(1, 6, (600, 500)) * (random.random((600, 500)) < 0.02), dtype=np.float64)
model = ImplicitALS(16, iterations=2, random_state=0).fit(R)
one_by_one = ImplicitALS(16, iterations=0)
one_by_one.fit(R, user_factors=model.user_factors, item_factors=model.item_factors)
rows, columns, everyone = model.user_items_, sp.csr_array(model.user_items_.T), np.arange(600)
requests = [
    lambda model, t: model.recommend(t),
    lambda model, t: model.recommend(everyone, N=20),
    lambda model, t: model.recommend(t, rows[[t]], recalculate_user=True),
    lambda model, t: model.recommend(everyone, filter_items=[t, t + 1], items=np.arange(100)),
    lambda model, t: model.similar_items(np.arange(500)),
    lambda model, t: model.similar_users([t, t + 1]),
    lambda model, t: [model.recalculate_user(everyone)],
    lambda model, t: [model.recalculate_item(np.arange(t, 500), columns[t:])],
    lambda model, t: model.explain(t, itemid=t)[:1],
    lambda model, t: [model.predict(t, t)],
]
got, errors, barrier = {}, [], threading.Barrier(16)

def work(t):
    barrier.wait()
    try:
        for turn in range(2 * len(requests)):
            number = (turn + t) % len(requests)
            got[t, turn, number] = requests[number](model, t)
    except BaseException as error:
        errors.append(repr(error))

threads_before = numba.get_num_threads()
workers = [threading.Thread(target=work, args=(t,)) for t in range(16)]
for worker in workers: worker.start()
for worker in workers: worker.join()
assert not errors, errors
expected = {(t, number): requests[number](one_by_one, t) for t in range(16) for number in range(len(requests))}
assert len(got) == 16 * 2 * len(requests)
for (t, turn, number), answer in got.items():
    for one, other in zip(answer, expected[t, number], strict=True):
        np.testing.assert_array_equal(one, other, err_msg=f"request {number} of thread {t}")
assert numba.get_num_threads() == threads_before
print(numba.threading_layer(), len(got))
"""


def run_script(script: str, layer: str) -> list[str]:
    """Words that a script printed which ran to its end, without warnings, under a threading layer."""
    return " ".join(run_under_layer(layer, "-W", "error", "-c", script)).split()


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_sixteen_threads_on_one_model(layer):
    assert run_script(SCRIPT, layer) == [layer, "320"]


# 256 factors: the eigenvectors of so large a Gramian depend on the number of BLAS's threads, which one fit must not
# change under another.
FITS = """
import threading
import numba, numpy as np, scipy.sparse as sp
from fastals import ImplicitALS

random = np.random.default_rng(0)
R = sp.csr_array(random.integers(1, 6, (300, 400)) * (random.random((300, 400)) < 0.05), dtype=np.float64)

def factors(t):
    model = ImplicitALS(256, iterations=2, random_state=t % 3, num_threads=1 + t % 2).fit(R)
    return model.user_factors.tobytes(), model.item_factors.tobytes()

expected, wrong = [factors(t) for t in range(3)], []

def work(t):
    for _ in range(4):
        if factors(t) != expected[t % 3]:
            wrong.append(t)

workers = [threading.Thread(target=work, args=(t,)) for t in range(8)]
for worker in workers: worker.start()
for worker in workers: worker.join()
print(numba.threading_layer(), wrong)
"""


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_fits_in_several_threads_are_those_of_one(layer):
    assert run_script(FITS, layer) == [layer, "[]"]


def test_updates_in_several_threads_are_all_there(ratings):
    model = ImplicitALS(4, iterations=2, random_state=0).fit(ratings)
    changed = ratings[::-1].tocsr()
    errors, barrier = [], threading.Barrier(10)

    def update(t):
        barrier.wait()
        try:
            for user in range(t, 40, 10):  # some of them new
                model.partial_fit_users([user], changed[[user % 30]])
                model.recommend(t), model.recommend([t], recalculate_user=True), model.similar_items(1)
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    workers = [threading.Thread(target=update, args=(t,)) for t in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.setswitchinterval(interval)

    assert not errors
    rows = changed[np.arange(40) % 30]
    np.testing.assert_array_equal(model.user_factors, model.recalculate_user(np.arange(40), rows))
    np.testing.assert_array_equal(model.user_items_.toarray(), rows.toarray())


def test_a_call_keeps_to_the_state_it_began_with(ratings, monkeypatch):
    """A fit to a smaller matrix that ends in the middle of a fold-in does not reach into it."""
    model = ImplicitALS(4, iterations=1, random_state=0).fit(ratings)
    expected = model.recalculate_user(0, ratings[[0]])
    rows_of = Fitted.rows

    def fitted_meanwhile(*arguments, **named):
        found = rows_of(*arguments, **named)
        model.fit(ratings[:, :7])
        return found

    monkeypatch.setattr(Fitted, "rows", fitted_meanwhile)

    np.testing.assert_array_equal(model.recalculate_user(0, ratings[[0]]), expected)
    assert model.item_factors.shape == (7, 4)


REFITS = """
import pickle, sys, tempfile, threading
from pathlib import Path
import numba, numpy as np, scipy.sparse as sp
from fastals import ImplicitALS

sys.setswitchinterval(1e-5)
matrices = [sp.random(300, 200, density=0.05, random_state=seed, format="csr") for seed in range(3)]
expected = [ImplicitALS(8, iterations=3, random_state=0).fit(matrix) for matrix in matrices]
whole = {fit.item_factors.tobytes(): fit for fit in expected}
model = ImplicitALS(8, iterations=3, random_state=0).fit(matrices[0])
done, errors, counts = threading.Event(), [], [0] * 16
folder = Path(tempfile.mkdtemp())

def check(one):
    fit = whole[one.item_factors.tobytes()]  # KeyError for a mixture or zeros
    np.testing.assert_array_equal(one.user_factors, fit.user_factors)
    np.testing.assert_array_equal(one.user_items_.indices, fit.user_items_.indices)
    assert one.loss_history == fit.loss_history

def read(t):
    path = folder / str(t)
    try:
        while not done.is_set():
            ids, scores = model.recommend(7, N=3)
            assert any(np.array_equal(scores, fit.recommend(7, N=3)[1]) for fit in expected), scores
            ids, scores = model.similar_items(np.arange(4), N=1)
            assert (scores > 0.99).all(), scores
            if t % 2:
                model.save(path)
                check(ImplicitALS.load(path))
            else:
                check(pickle.loads(pickle.dumps(model)))
            counts[t] += 1
    except BaseException as error:
        errors.append(repr(error))

readers = [threading.Thread(target=read, args=(t,)) for t in range(16)]
for reader in readers: reader.start()
turn = 0
while turn < FITS or (min(counts) < 3 and not errors):
    model.fit(matrices[turn % 3])
    turn += 1
done.set()
for reader in readers: reader.join()
print(numba.threading_layer(), min(counts) >= 3, errors)
"""


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_refits_show_whole_states_alone(layer):
    """Sixteen threads recommend, save and pickle a model that is fitted to other data again and again, three times."""
    assert run_script(REFITS.replace("FITS", "20"), layer) == [layer, "True", "[]"]
