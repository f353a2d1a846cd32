"""What is sent to tasks, and which workers can be reached."""

import operator
import socket

import numpy as np

from fastals.distributed.transport import Sent, are_reachable, call, n_bytes


def test_workers_that_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert are_reachable([open_address])
        assert are_reachable([])
        assert not are_reachable([open_address, "inproc://127.0.0.1/1/2"])
    assert not are_reachable([open_address])


def test_what_is_sent_is_neither_searched_nor_changed():
    value = {"a": [1, (2, 3)]}
    assert call(operator.itemgetter("a"), Sent(value)) == [1, (2, 3)]
    assert Sent(1).__dask_tokenize__() != Sent(1).__dask_tokenize__()


def test_bytes_of_arrays_in_a_value():
    assert n_bytes((np.zeros(3), [np.zeros(2)], 5, "x")) == 40
