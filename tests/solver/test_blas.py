"""NumPy's BLAS runs on one thread inside, for every Python thread that is inside, and as before afterwards."""

import threading

import pytest

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
