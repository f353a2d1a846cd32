"""Many Python threads at one model, under every threading layer of Numba that is installed."""

import os
import subprocess
import sys

import pytest

# Sixteen threads start together on a cold model, each with its own share of all the requests. What they get is held
# against the answers of one thread, taken afterwards from a copy of the model.
SCRIPT = """
import sys, threading
import numba, numpy as np, scipy.sparse as sp
from fastals import ImplicitALS

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


@pytest.mark.parametrize("layer", ["workqueue", "omp", "tbb"])
def test_sixteen_threads_on_one_model(layer):
    settings = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=240,
    )
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"Numba's threading layer {layer} is not installed")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [layer, "320"]
