"""NumPy's BLAS runs on one thread inside, for every Python thread that is inside, and as before afterwards."""

import threading

import pytest
from layers import needs_fork, run_under_layer

from fastals.solver import blas
from fastals.solver.blas import _openblas, single_threaded_blas


@pytest.fixture
def number_of_threads():
    """The function that tells BLAS's number of threads, which is 2."""
    functions = _openblas()
    if functions is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    before = functions[0]()
    functions[1](2)
    if functions[0]() != 2:
        pytest.skip("needs two threads")
    yield functions[0]
    functions[1](before)


def test_one_inside_and_restored(number_of_threads):
    with single_threaded_blas():
        inside = number_of_threads()
        with single_threaded_blas():
            nested = number_of_threads()
        after_nested = number_of_threads()
    with pytest.raises(ZeroDivisionError), single_threaded_blas():
        raise ZeroDivisionError

    assert (inside, nested, after_nested, number_of_threads()) == (1, 1, 1, 2)


def test_one_inside_while_other_threads_come_and_go(number_of_threads):
    seen, pause = [], threading.Event()

    def enter():
        for _ in range(20):
            with single_threaded_blas():
                pause.wait(0.0005)
                seen.append(number_of_threads())

    workers = [threading.Thread(target=enter) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)

    assert seen == [1] * 80
    assert number_of_threads() == 2


class ThreadLocalNumber:
    """What MKL's setter does, by its manual: sets the calling thread's number, 0 for the process's; returns it."""

    def __init__(self):
        self.local = threading.local()

    def __call__(self, number):
        before = self.now()
        self.local.number = number
        return before

    def now(self):
        return getattr(self.local, "number", 0)


@pytest.fixture(params=["as its manual says", "itself"])
def own_number(request, monkeypatch):
    """MKL's setter of the calling thread's number, NumPy's own where that is linked with MKL."""
    setter = blas._mkl() if request.param == "itself" else ThreadLocalNumber()
    if setter is None:
        pytest.skip("NumPy's BLAS is not MKL")
    monkeypatch.setattr(blas, "_mkl", lambda: setter)

    def now():
        number = setter(0)
        setter(number)
        return number

    return now


def test_mkl_has_one_inside_in_this_thread_alone(own_number):
    seen = []

    def outside():
        seen.append(own_number())

    with single_threaded_blas():
        inside = own_number()
        with single_threaded_blas():
            nested = own_number()
        after_nested = own_number()
        other = threading.Thread(target=outside)
        other.start()
        other.join(timeout=60)
    with pytest.raises(ZeroDivisionError), single_threaded_blas():
        raise ZeroDivisionError

    assert (inside, nested, after_nested, own_number(), seen) == (1, 1, 1, 0, [0])


FORK = """
import os, signal, threading
from fastals.solver.blas import _openblas, single_threaded_blas

functions = _openblas()
if functions is None:
    os._exit(0)
functions[1](2)
entered, leave = threading.Event(), threading.Event()
def hold():
    with single_threaded_blas():
        entered.set()
        leave.wait()
holder = threading.Thread(target=hold)
holder.start()
entered.wait()
signal.alarm(60)
child = os.fork()
if child == 0:
    signal.alarm(20)
    before = functions[0]()
    with single_threaded_blas():
        inside = functions[0]()
    print("child", before, inside, functions[0](), flush=True)
    os._exit(0)
print("status", os.waitpid(child, 0)[1], functions[0](), flush=True)
leave.set()
holder.join()
with single_threaded_blas():
    child = os.fork()
    if child == 0:
        print("inside", functions[0](), flush=True)
if child == 0:
    print("outside", functions[0](), flush=True)
    os._exit(0)
print("status", os.waitpid(child, 0)[1], functions[0]())
"""


@needs_fork
def test_fork_does_not_wait_and_its_child_has_the_number_from_before(number_of_threads):
    expected = ["child 2 1 2", "status 0 1", "inside 1", "outside 2", "status 0 2"]

    assert run_under_layer("workqueue", "-c", FORK) == expected


FORKS_BESIDE = """
import os, signal, sys, threading
from fastals.solver.blas import _openblas, _set, single_threaded_blas

functions = _openblas()
if functions is None:
    os._exit(0)
with single_threaded_blas():
    _set(2)
stop = threading.Event()
def enter():
    while not stop.is_set():
        _set(1)
        _set(2)
sys.setswitchinterval(1e-5)
holders = [threading.Thread(target=enter) for _ in range(4)]
for holder in holders: holder.start()
statuses = set()
for _ in range(200):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        _set(2)
        os._exit(0)
    statuses.add(os.waitpid(child, 0)[1])
    if statuses != {0}:
        break
stop.set()
for holder in holders: holder.join()
print(statuses, functions[0]())
"""


@pytest.mark.slow
@needs_fork
def test_forks_beside_a_thread_that_sets_the_number(number_of_threads):
    """A child that inherits OpenBLAS's lock with a holder that does not exist waits until its alarm."""
    assert run_under_layer("workqueue", "-c", FORKS_BESIDE) == ["{0} 2"]
