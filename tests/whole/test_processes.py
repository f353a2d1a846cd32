"""Fitted models in threads, forks and worker processes, under every threading layer of Numba that is installed.

Every worker fits anew and recommends from the model it was handed; its answers are those of the main thread, bit for
bit, or an error that tells what to do.
"""

import os
import sys
from pathlib import Path

import pytest
from layers import LAYERS, needs_fork, run_under_layer

pytestmark = pytest.mark.slow

# Batches are ranked in parallel however small they are.
PRELUDE = """
import multiprocessing, os, sys, threading, warnings
import numba, numpy as np, scipy.sparse as sp
import fastals.serving.top_items
from fastals import ImplicitALS

fastals.serving.top_items._SERIAL_WORK = 0
warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
random = np.random.default_rng(0)
R = sp.csr_array(random.integers(1, 6, (120, 90)) * (random.random((120, 90)) < 0.1), dtype=np.float64)

def fitted():
    return ImplicitALS(8, iterations=2, random_state=0, num_threads=2).fit(R)

def answers(model):
    everyone = np.arange(R.shape[0])
    found = fitted(), *model.recommend(everyone), model.recalculate_user(everyone), *model.recommend(3)
    return [array.tobytes() for array in (found[0].user_factors, found[0].item_factors, *found[1:])]

def tried(model):
    try:
        return answers(model)
    except RuntimeError as error:
        return str(error)

def told(name, got, expected):
    print(name, len(got), *sorted({"right" if one == expected else one[:60] for one in got}), flush=True)
"""
REFUSED = "fastals cannot run in this process: it was forked from one w"


def run_script(folder: Path, layer: str, script: str, *arguments: str) -> list[str]:
    """Lines that a script printed which ran to its end, without warnings, under a threading layer."""
    path = folder / "script.py"
    path.write_text(PRELUDE + script)
    return run_under_layer(layer, "-W", "error", str(path), *arguments, quiet=True)


POOLS = """
import concurrent.futures

def pool(method):
    with multiprocessing.get_context(method).Pool(2) as workers:
        found = workers.map(tried, [model] * 4, chunksize=1)
        workers.close()
        workers.join()  # one may still be starting
        return found

def executor(method):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as workers:
        return list(workers.map(tried, [model] * 4))

def joblib(backend):
    from joblib import Parallel, delayed
    return Parallel(n_jobs=2, backend=backend)(delayed(tried)(model) for _ in range(4))

if __name__ == "__main__":
    model = fitted()
    expected = answers(model)
    for name in sys.argv[1:]:
        make, _, how = name.partition("-")
        told(name, globals()[make](how), expected)
    told("afterwards", [answers(model)], expected)
"""


@needs_fork
@pytest.mark.parametrize("layer", LAYERS)
def test_workers_forked_after_a_fit(tmp_path, layer):
    kinds = ["pool-fork", "executor-fork"]

    got = run_script(tmp_path, layer, POOLS, *kinds)

    outcome = REFUSED if layer == "omp" and sys.platform.startswith("linux") else "right"
    assert got == [f"{kind} 4 {outcome}" for kind in kinds] + ["afterwards 1 right"]


@pytest.mark.parametrize("layer", LAYERS)
def test_workers_started_anew(tmp_path, layer):
    kinds = ["pool-spawn", *(["pool-forkserver"] if hasattr(os, "fork") else [])]

    got = run_script(tmp_path, layer, POOLS, *kinds)

    assert got == [f"{kind} 4 right" for kind in kinds] + ["afterwards 1 right"]


@pytest.mark.parametrize("layer", LAYERS)
def test_joblib(tmp_path, layer):
    pytest.importorskip("joblib")
    kinds = ["joblib-loky", "joblib-threading"]

    got = run_script(tmp_path, layer, POOLS, *kinds)

    assert got == [f"{kind} 4 right" for kind in kinds] + ["afterwards 1 right"]


# No row is so short that it is solved serially for that alone.
SINGLE_ROWS = """
import fastals.serving.fold_in, fastals.solver.half_sweep
fastals.serving.fold_in.SERIAL_WORK = fastals.solver.half_sweep.SERIAL_WORK = -1
path = sys.argv[1]
child = os.fork()
if child == 0:
    fitted().save(path)  # elsewhere, so that this process has started no threads
    os._exit(0)
os.waitpid(child, 0)
warm = ImplicitALS.load(path)
warm.recommend(3, R[[3]], recalculate_user=True)

def single_rows():
    model = pickle.loads(pickle.dumps(warm))  # the calls below change it
    found = [*model.recommend(3, R[[3]], recalculate_user=True), *model.similar_items(2)]
    found.append(model.recalculate_user(3, R[[3]]))
    explained = model.explain(3, R[[3]], 1)[0]
    model.partial_fit_users([3], R[[3]])
    model.partial_fit_items([2], R.T.tocsr()[[2]])
    return [array.tobytes() for array in (*found, model.user_factors, model.item_factors)], float(explained)

expected = single_rows()
try:
    print(numba.threading_layer(), flush=True)
except ValueError:
    print("not started", flush=True)
child = os.fork()
if child == 0:
    signal.alarm(120)
    told("single rows", [single_rows()], expected)
    told("all rows", [answers(fitted())], answers(fitted()))
    os._exit(0)
print("status", os.waitpid(child, 0)[1])
"""


@needs_fork
@pytest.mark.parametrize("layer", LAYERS)
def test_single_rows_start_no_threads_so_that_forked_workers_can(tmp_path, layer):
    """As under gunicorn with --preload: a model that is loaded and warmed with single rows before the fork."""
    got = run_script(tmp_path, layer, "import pickle, signal\n" + SINGLE_ROWS, str(tmp_path / "model"))

    assert got == ["not started", "single rows 1 right", "all rows 1 right", "status 0"]


# A child that hangs is ended by its alarm, which the status tells.
FORKED = """
import signal

def forked(work):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            work()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]

def exit_right(model, expected):
    got = tried(model)
    os._exit(0 if got == expected or "fork" in got else 3)
"""

FORK_DURING_A_BUILD = """
model = fitted()
expected = answers(model)
building, finish = threading.Event(), threading.Event()

def build():
    building.set()
    finish.wait()

holder = threading.Thread(target=lambda: model._state.item_factors.derived.get("another", build))
holder.start()
building.wait()
print(forked(lambda: exit_right(model, expected)))
finish.set()
holder.join()
told("afterwards", [answers(model)], expected)
"""


@needs_fork
@pytest.mark.parametrize("layer", ["workqueue"])
def test_fork_while_another_thread_builds_an_index(tmp_path, layer):
    assert run_script(tmp_path, layer, FORKED + FORK_DURING_A_BUILD) == ["0", "afterwards 1 right"]


FORK_DURING_WORK = """
model = fitted()
expected = answers(model)
stop, wrong = threading.Event(), []

def work():
    while not stop.is_set():
        if answers(pickle.loads(pickle.dumps(model))) != expected:
            wrong.append(1)

import pickle
sys.setswitchinterval(1e-4)
workers = [threading.Thread(target=work) for _ in range(4)]
for worker in workers: worker.start()
statuses = {forked(lambda: exit_right(model, expected)) for _ in range(20)}
stop.set()
for worker in workers: worker.join()
print(statuses, wrong)
told("afterwards", [answers(model)], expected)
"""


@needs_fork
@pytest.mark.parametrize("layer", LAYERS)
def test_forks_while_other_threads_fit_and_recommend(tmp_path, layer):
    assert run_script(tmp_path, layer, FORKED + FORK_DURING_WORK) == ["{0} []", "afterwards 1 right"]


FORK_DURING_COMPILATION = """
from numba.core.compiler_lock import global_compiler_lock

model = fitted()
expected = answers(model)
compiling, finish = threading.Event(), threading.Event()

def compile():
    with global_compiler_lock:
        compiling.set()
        finish.wait(1)

holder = threading.Thread(target=compile)
holder.start()
compiling.wait()

@numba.njit
def new(x):
    return x + 1

def work():
    new(1)
    exit_right(model, expected)

print(forked(work))
holder.join()
told("afterwards", [answers(model)], expected)
"""


@needs_fork
@pytest.mark.parametrize("layer", ["workqueue"])
def test_fork_while_another_thread_compiles(tmp_path, layer):
    assert run_script(tmp_path, layer, FORKED + FORK_DURING_COMPILATION) == ["0", "afterwards 1 right"]


# Everything a process has that a library may be tempted to change.
STATE = """
import decimal, gc, locale, logging, pickle, random as standard, signal, tempfile
from fastals.solver.blas import _openblas
from fastals.evaluation import ranking_metrics_at_k, strong_generalization_split, train_test_split

def state():
    names, keys, *rest = np.random.get_state()
    return {
        "numba": (numba.get_num_threads(), numba.config.NUMBA_NUM_THREADS, numba.get_parallel_chunksize()),
        "environment": dict(os.environ),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "errors of NumPy": (np.geterr(), np.geterrcall(), np.get_printoptions()),
        "threads of BLAS": _openblas() and _openblas()[0](),
        "random numbers": (standard.getstate(), names, keys.tobytes(), rest),
        "signals": [signal.getsignal(number) for number in signal.valid_signals()],
        "interpreter": (sys.getswitchinterval(), sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold()),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook, sys.gettrace(), sys.path[:]),
        "locale": (locale.setlocale(locale.LC_ALL), decimal.getcontext().prec, os.getcwd()),
        "logging": (list(logging.root.handlers), logging.root.level),
        "Python threads": threading.active_count(),
        "denormal numbers": float(np.float32(1e-40) * np.float32(0.5)),
    }

def everything(solver):
    model = ImplicitALS(8, iterations=3, solver=solver, random_state=1, num_threads=1).fit(R, callback=lambda *_: None)
    model.recommend(np.arange(9), recalculate_user=True), model.similar_items([1, 2]), model.similar_users(1)
    model.explain(0, R[[0]], 1), model.predict(0, 0), model.loss(R)
    model.partial_fit_users([1, 130], R[[1, 2]])
    model.partial_fit_items([1], sp.csr_array((1, 131)))
    pickle.loads(pickle.dumps(model))
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder + "/model")
        ImplicitALS.load(folder + "/model").recommend(0)
    train, test = train_test_split(R, random_state=0)
    strong_generalization_split(R, random_state=0)
    ranking_metrics_at_k(ImplicitALS(4, iterations=1, num_threads=1).fit(train), train, test, K=3, auc=True)

def failing(solver):
    def interrupt(model, sweep, loss):
        raise KeyboardInterrupt

    calls = [
        lambda: ImplicitALS(8, solver=solver, num_threads=1).fit(R * np.nan),
        lambda: ImplicitALS(8, alpha=1.0, solver=solver, num_threads=1).fit(R * 1e300),
        lambda: ImplicitALS(8, solver=solver, num_threads=1).fit(R, callback=interrupt),
        lambda: ImplicitALS(8, solver=solver, num_threads=0).fit(R),
        lambda: ImplicitALS().recommend(0),
    ]
    for call in calls:
        try:
            call()
        except (Exception, KeyboardInterrupt):
            continue
        raise AssertionError("no error")

numba.set_num_threads(2)
np.seterr(all="raise")
fitted()  # starts threads, and imports what is imported late
before = state()
for work in (everything, failing):
    for solver in ("cg", "cholesky"):
        work(solver)
        after = state()
        print(work.__name__, solver, [name for name in before if before[name] != after[name]])
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_the_process_stays_as_it_was(tmp_path, layer):
    expected = [f"{work} {solver} []" for work in ("everything", "failing") for solver in ("cg", "cholesky")]

    assert run_script(tmp_path, layer, STATE) == expected
