"""How values travel to tasks and back: what is sent as it is, how many bytes that is, which workers can be reached."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np


class Sent:
    """An argument of a task as it is: Dask neither looks for futures inside nor hashes it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __dask_tokenize__(self) -> str:
        return uuid.uuid4().hex


def received(sent: Sent) -> Any:
    """What was sent."""
    return sent.value


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function, with what was sent taken out."""
    return function(*(argument.value if isinstance(argument, Sent) else argument for argument in arguments))


def are_reachable(addresses: Iterable[str]) -> bool:
    """Whether this process can connect to all workers itself, not through the scheduler alone."""
    for address in addresses:
        protocol, _, place = address.partition("://")
        host, _, port = place.rpartition(":")
        if protocol not in ("tcp", "tls"):
            return False
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
        except OSError:
            return False
    return True


def outgoing_bytes(dask_worker: Any) -> int:
    """Bytes that a worker has sent."""
    return int(dask_worker.transfer_outgoing_bytes_total)


def n_bytes(value: Any) -> int:
    """Bytes of the arrays in a value."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, (tuple, list)):
        return sum(map(n_bytes, value))
    return sum(map(n_bytes, vars(value).values())) if hasattr(value, "__dataclass_fields__") else 0


@contextlib.contextmanager
def unwarned() -> Iterator[None]:
    """Without Dask's warning of large graphs: factors are meant to be sent."""
    import dask

    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
        yield
