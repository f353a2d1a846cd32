"""Map over shards and reduce in their order, on Dask: every task is pure, and no result depends on the workers.

What goes to the workers goes as the argument of a task, not as scattered data: the scheduler keeps it as long as
anything may have to be made from it once more, so that whatever a lost worker has held is made again from its lineage.
Sums are taken over neighbours, neighbours of these, and so on: their order follows from the number of shards alone.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from fastals.core.validation import describe

Reference = Any  # to a value on the workers: a future
Add = Callable[[Any, Any], Any]


class Executor(Protocol):
    """What a sharded training runs on."""

    seconds: dict[str, float]

    def share(self, name: str, value: Any) -> Reference:
        """A value for all shards, which must not be changed any more."""
        ...

    def map(self, name: str, function: Callable[..., Any], *arguments: Any) -> list[Reference]:
        """Call a function for each shard: of lists each its element, of anything else the thing itself."""
        ...

    def spread(self, name: str, function: Callable[..., Any], *arguments: Any) -> list[Reference]:
        """As ``map``, with neighbouring shards on one worker."""
        ...

    def settle(self, references: list[Reference]) -> None:
        """Leave what ``spread`` has made, and is there, to go anywhere should it be lost."""
        ...

    def gather(self, references: Sequence[Reference]) -> list[Any]:
        """The values."""
        ...

    def total(self, name: str, add: Add, function: Callable[..., Any], *arguments: Any) -> Any:
        """Sum of what a function returns for each shard, see ``map``, in an order that follows from their number."""
        ...

    def phase(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Count the seconds inside among those of a phase."""
        ...

    def bytes_moved(self) -> int:
        """Bytes sent to the workers, between them, and by them, up to now."""
        ...


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


class DaskExecutor:
    """Executor on the workers of a Dask cluster.

    Parameters
    ----------
    client : distributed.Client
    count : int
        Number of shards.

    Attributes
    ----------
    seconds : dict of str to float
        By phase.
    """

    def __init__(self, client: Any, count: int) -> None:
        self.client, self.count = client, count
        self.seconds: dict[str, float] = defaultdict(float)
        self._token, self._calls, self._sent = uuid.uuid4().hex[:8], itertools.count(), 0

    def share(self, name: str, value: Any) -> Reference:
        """A value for all shards: the argument of a task, whose result workers fetch from one another."""
        self._sent += n_bytes(value)
        with self._guarded(), unwarned():
            return self.client.submit(received, Sent(value), key=self.key(name), pure=False)

    def map(self, name: str, function: Callable[..., Any], *arguments: Any) -> list[Reference]:
        """Call a function for each shard, where its first argument is."""
        return self._mapped(name, function, arguments, range(self.count))

    def spread(self, name: str, function: Callable[..., Any], *arguments: Any) -> list[Reference]:
        """As ``map``, with neighbouring shards on one worker and as many a worker as it has threads to share them."""
        found: list[Reference] = []
        with self._guarded():
            workers = self.client.nthreads()
        if not workers:
            return self.map(name, function, *arguments)
        threads = np.cumsum(list(workers.values()))
        ends = (threads * self.count // threads[-1]).tolist()
        for address, first, last in zip(workers, (0, *ends[:-1]), ends, strict=True):
            more = {"workers": [address], "allow_other_workers": True}
            found += self._mapped(name, function, arguments, range(first, last), **more)
        return found

    def settle(self, references: list[Reference]) -> None:
        """Lift the restrictions of ``spread``.

        Where all workers are lost Dask would wait for those of the same address, although others are allowed.
        """
        with self._guarded():
            self.client.sync(self.client.scheduler.set_restrictions, worker={future.key: [] for future in references})

    def _mapped(
        self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], shards: range, **more: Any
    ) -> list[Reference]:
        if not shards:
            return []
        columns, key = self._columns(arguments, shards), self.key(name)
        keys = [f"{key}-{s}" for s in shards]
        with self._guarded(), unwarned():
            return list(self.client.map(call, [function] * len(shards), *columns, key=keys, pure=False, **more))

    def _columns(self, arguments: tuple[Any, ...], shards: range) -> list[list[Any]]:
        """Each argument for each shard."""
        return [
            [self._argument(argument[s]) for s in shards]
            if isinstance(argument, list)
            else [self._argument(argument)] * len(shards)
            for argument in arguments
        ]

    def _argument(self, value: Any) -> Any:
        import dask
        from distributed import Future

        if isinstance(value, Future):
            return value
        if dask.is_dask_collection(value):
            return self.client.compute(value)
        self._sent += n_bytes(value)
        return Sent(value)

    def gather(self, references: Sequence[Reference]) -> list[Any]:
        """The values, once they are there."""
        with self._guarded():
            return list(self.client.gather(list(references)))

    def total(self, name: str, add: Add, function: Callable[..., Any], *arguments: Any) -> Any:
        """Sum of what a function returns for each shard: where that is, of neighbours first, in one graph."""
        key, sums = self.key(name), self.key(f"{name}-sum")
        columns = self._columns(arguments, range(self.count))
        level = [f"{key}-{s}" for s in range(self.count)]
        graph = {place: (call, function, *row) for place, row in zip(level, zip(*columns, strict=True), strict=True)}
        for depth in itertools.count():
            if len(level) == 1:
                break
            pairs = list(zip(level[::2], level[1::2], strict=False))
            found = [f"{sums}-{depth}-{n}" for n in range(len(pairs))]
            graph |= {place: (add, *pair) for place, pair in zip(found, pairs, strict=True)}
            level = [*found, *level[2 * len(pairs) :]]
        with self._guarded(), unwarned():
            return self.client.gather(self.client.get(graph, level, sync=False))[0]

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds inside among those of a phase."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began

    def bytes_moved(self) -> int:
        """Bytes that this process has sent, and those that the workers now there have."""
        with self._guarded():
            workers = self.client.run(outgoing_bytes, on_error="ignore")
        return self._sent + sum(workers.values())

    def key(self, name: str) -> str:
        """A new name for a task on the dashboard."""
        return f"{name}-{self._token}-{next(self._calls)}"

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn what Dask raises where the scheduler is lost into one error that says so."""
        try:
            yield
        except (OSError, concurrent.futures.CancelledError, RuntimeError) as error:
            reason = getattr(error, "reason", "")
            if self.client.status == "running" and "connection" not in reason and "closed" not in str(error):
                raise
            raise ConnectionError(
                f"the Dask scheduler at {address_of(self.client)} is lost, and what the workers held with it; a "
                "checkpoint, if one was written, is good: connect to another cluster and resume from it"
            ) from error


def client_of(client: Any) -> Any:
    """The client given, or the current one.

    Raises
    ------
    ImportError
        Without Dask.
    TypeError, ValueError
        For what is no client, and where there is none.
    """
    try:
        from distributed import Client, get_client
    except ImportError as error:
        raise ImportError("fastals.distributed needs Dask: pip install 'fastals[dask]'") from error
    if client is None:
        try:
            return get_client()
        except ValueError:
            raise ValueError("no Dask client: make one, distributed.Client(...), before fit, or pass client=") from None
    if not isinstance(client, Client):
        raise TypeError(f"client must be a distributed.Client; got {describe(client)}")
    return client


def address_of(client: Any) -> str:
    """Address of a client's scheduler, as far as it is known."""
    return str(getattr(getattr(client, "scheduler", None), "address", "an unknown address"))


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
