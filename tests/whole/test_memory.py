"""Short of memory: a clear MemoryError and the model as it was, never a result of which a part is missing."""

import os
import subprocess
import sys

import numpy as np
import pytest

from fastals import ImplicitALS
from fastals.kernels.jit import compiled
from fastals.serving import top_items as ranking
from fastals.solver import half_sweep as solver

TOO_MUCH = 2**55


@compiled
def cg_without_memory(task, tasks, ranges, entries, system, stop, X, status):
    X[:] = np.empty(ranges.longest * TOO_MUCH // ranges.longest)[0]


@compiled
def ranks_without_memory(task, tasks, queries, items, indptr, indices, scores, ids):
    ids[:] = np.empty(ids.shape[1] * TOO_MUCH // ids.shape[1])[0]


def test_a_half_sweep_without_memory_leaves_the_model_as_it_was(ratings, monkeypatch):
    model = ImplicitALS(4, iterations=1, random_state=0).fit(ratings)
    factors, copy = model.user_factors, model.user_factors.copy()
    monkeypatch.setattr(solver, "cg_task", cg_without_memory)

    for serial_work in (0, solver.SERIAL_WORK):  # in parallel, or by the calling thread
        monkeypatch.setattr(solver, "SERIAL_WORK", serial_work)
        for call in (lambda: model.fit(ratings), lambda: model.recalculate_user(np.arange(30))):
            with pytest.raises(MemoryError, match="no memory for the scratch of the row kernels, 4 factors"):
                call()

    assert model.user_factors is factors
    np.testing.assert_array_equal(factors, copy)


def test_a_ranking_without_memory_is_none(ratings, monkeypatch):
    model = ImplicitALS(4, iterations=1, random_state=0).fit(ratings)
    monkeypatch.setattr(ranking, "_SERIAL_WORK", 0)
    monkeypatch.setattr(ranking.kernels, "rank_block", ranks_without_memory)

    with pytest.raises(MemoryError, match="no memory for ranking"):
        model.recommend(np.arange(30))


PRELUDE = """
import ctypes, gc, resource, sys
import numpy as np, scipy.sparse as sp
import fastals.serving.top_items
from fastals import ImplicitALS

fastals.serving.top_items._SERIAL_WORK = 0

def random_matrix(*shape, density):
    random, size = np.random.default_rng(0), int(density * shape[0] * shape[1])
    pairs = random.integers(0, shape[0], size), random.integers(0, shape[1], size)
    return sp.csr_array((random.integers(1, 6, size).astype(np.float32), pairs), shape=shape)

def limit_to(allowance):
    \"\"\"Let the process have so many bytes more than it has now.\"\"\"
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/status") as file:
        used = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + allowance, resource.RLIM_INFINITY))

def lift():
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)

small = random_matrix(300, 200, density=0.1)
"""
CEILING = """
R, k = random_matrix(60_000, 15_000, density=1.2e6 / 60_000 / 15_000), 64
# The transpose and the weights of the rows, three times the users' factors and four times the items'.
need = 4 * R.nnz * 3 + 4 * k * (3 * R.shape[0] + 4 * R.shape[1])

def new():
    return ImplicitALS(k, iterations=3, random_state=0, num_threads=2)

model = new().fit(small)
expected = model.recommend(np.arange(300))
limit_to(int(need * float(sys.argv[1])) + 2**24)
try:
    model.fit(R)
    print("fitted", np.array_equal(model.user_factors, new().fit(R).user_factors) if lift() is None else None)
except MemoryError:
    lift()
    same = all(map(np.array_equal, model.recommend(np.arange(300)), expected))
    print("refused", same, len(model.fit(R).loss_history))
"""
# The first row has a pair for every item, so each thread needs much scratch, more than what compilation may have left
# free; and every step of a fit and of a ranking is in turn the first that finds no memory.
ANY_CEILING = """
long_row, others = sp.csr_array(np.full((1, 400_000), 2, np.float32)), random_matrix(50, 400_000, density=1e-5)
R = sp.csr_array(sp.vstack([long_row, others]))

def answers(model):
    model.fit(R)
    return [array.tobytes() for array in (model.user_factors, model.item_factors, *model.recommend(np.arange(51)))]

def new():
    return ImplicitALS(8, iterations=2, random_state=0, num_threads=2, solver=sys.argv[1])

expected, seen = answers(new()), set()
for allowance in range(0, 2**26, 2**21):
    model = new()
    limit_to(allowance)
    try:
        got = answers(model)
        lift()
        seen.add("right" if got == expected else "wrong")
    except MemoryError:
        lift()
        seen.add("refused")
    got = None
print(*sorted(seen))
"""


def run_script(script: str, *arguments: str) -> list[str]:
    # Of all layers workqueue alone has every loop run by other threads, whose exceptions are lost.
    settings = {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + script, *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


needs_limit = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits private memory")


@pytest.mark.slow
@needs_limit
@pytest.mark.parametrize(("share", "expected"), [("1.0", ["fitted", "True"]), ("0.6", ["refused", "True", "3"])])
def test_memory_of_a_fit(share, expected):
    assert run_script(CEILING, share) == expected


@pytest.mark.slow
@needs_limit
@pytest.mark.parametrize("solver", ["cg", "cholesky"])
def test_right_or_refused_under_any_ceiling(solver):
    assert run_script(ANY_CEILING, solver) == ["refused", "right"]
