"""Map over shards and reduce in their order, on Dask: every task is pure, and no result depends on the workers.

What goes to the workers goes as the argument of a task, not as scattered data: the scheduler keeps it as long as
anything may have to be made from it once more, so that whatever a lost worker has held is made again from its lineage.
Sums are taken over neighbours, neighbours of these, and so on: their order follows from the number of shards alone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from fastals.core.validation import describe
from fastals.distributed.sums import Add, shards_of, sum_of, sums_of, tree_of, trees_by_place
from fastals.distributed.transport import Sent, are_reachable, call, n_bytes, outgoing_bytes, received, unwarned

Reference = Any  # to a value on the workers: a future
Value = TypeVar("Value")
FEW = 4  # workers at most that sum by themselves what they have; the client adds what they send


class WorkersChangedError(RuntimeError):
    """A worker was lost to which shards are bound."""


class Executor(Protocol):
    """What a sharded training runs on."""

    seconds: dict[str, float]

    def share(self, name: str, value: Any) -> Reference:
        """A value for all shards, which must not be changed any more."""
        ...

    def handed(self, name: str, value: Any) -> Any:
        """A value for all shards of one ``total``: as it is, or shared."""
        ...

    def map(self, name: str, function: Callable[..., Any], *arguments: Any) -> list[Reference]:
        """Call a function for each shard: of lists each its element, of anything else the thing itself."""
        ...

    def total(self, name: str, add: Add, function: Callable[..., Any], *arguments: Any) -> Any:
        """Sum of what a function returns for each shard, see ``map``, in an order that follows from their number."""
        ...

    def phase(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Count the seconds inside among those of a phase."""
        ...

    def warm(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function wherever shards may be, to have compiled what it runs."""
        ...

    def placed(self) -> contextlib.AbstractContextManager[None]:
        """Inside, neighbouring shards go to one worker and stay there; WorkersChangedError where such a one is lost."""
        ...

    def settle(self, references: list[Reference]) -> None:
        """Let what is kept, and was made where it was to stay, go anywhere should it be lost."""
        ...

    def gather(self, references: Sequence[Reference]) -> list[Any]:
        """The values."""
        ...

    def bytes_moved(self) -> int:
        """Bytes sent to the workers, between them, and by them, up to now."""
        ...


def undisturbed(executor: Executor, work: Callable[[], Value]) -> Value:
    """What some work on placed shards returns, which is begun anew where a worker is lost."""
    while True:
        with contextlib.suppress(WorkersChangedError), executor.placed():
            return work()


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
        self._places: list[str] | None = None  # of the shards, while they stay where they are
        self._fixed: list[str] | None = None  # the same, from one time to the next
        self._dealt: set[str] = set()  # the workers among which they were divided
        self._asked: list[Reference] = []  # sums, until others are asked for
        self._changed = False
        with self._guarded():
            self._direct = are_reachable(client.nthreads())  # what goes through the scheduler is sent twice

    def share(self, name: str, value: Any) -> Reference:
        """A value for all shards: the argument of a task, whose result workers fetch from one another."""
        self._sent += n_bytes(value)
        with self._guarded(), unwarned():
            return self.client.submit(received, Sent(value), key=self.key(name), pure=False)

    def handed(self, name: str, value: Any) -> Any:
        """A value for all shards of one ``total``: as it is where few workers are, else shared."""
        return value if self._few else self.share(name, value)

    @property
    def _few(self) -> bool:
        """Whether shards stay on so few workers that these sum by themselves what they have."""
        return self._places is not None and len(set(self._places)) <= FEW

    def map(self, name: str, function: Callable[..., Any], *arguments: Any) -> list[Reference]:
        """Call a function for each shard, where its first argument is."""
        columns, key = self._columns(arguments), self.key(name)
        keys, found = [f"{key}-{s}" for s in range(self.count)], []
        with self._guarded(), unwarned():
            for address, shards in itertools.groupby(range(self.count), lambda s: self._places and self._places[s]):
                chosen = list(shards)
                part = slice(chosen[0], chosen[-1] + 1)
                calls = [function] * len(chosen), *(column[part] for column in columns)
                where = [address] if address else None
                found += self.client.map(call, *calls, key=keys[part], pure=False, workers=where)
        return found

    def warm(self, name: str, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function on each worker, and on one of each host before: what that compiles the others load."""
        from distributed import wait

        with self._guarded():
            workers = list(self.client.nthreads())
            hosts: dict[str, str] = {}
            for address in workers:
                hosts.setdefault(address.rpartition(":")[0], address)
            firsts = list(hosts.values())
            for chosen in (firsts, [address for address in workers if address not in firsts]):
                sent = [Sent(argument) for argument in arguments]
                calls = [
                    self.client.submit(call, function, *sent, key=self.key(name), workers=[address], pure=False)
                    for address in chosen
                ]
                done = not calls
                while not done and set(chosen) <= set(self.client.nthreads()):
                    with contextlib.suppress(TimeoutError):
                        wait(calls, timeout=1)
                        done = True

    @contextlib.contextmanager
    def placed(self) -> Iterator[None]:
        """Inside, each shard's tasks stay on one worker, neighbouring shards on the same, by their shares of threads.

        Dask would steal tasks from a worker that is behind, with all data of their shards, and leave these apart from
        their neighbours. A worker that has joined gets its share the next time: it takes over what others have, which
        keep what they had. Once a worker is lost, tasks may go anywhere.
        """
        if not self._changed:
            with self._guarded():
                workers = self.client.nthreads()
            if not workers.keys() <= self._dealt:
                self._fixed, self._dealt = self._shares(workers), set(workers)
        self._places = self._fixed
        try:
            yield
        except WorkersChangedError:
            self._fixed, self._changed = None, True
            raise
        finally:
            self._places = None

    def _shares(self, workers: dict[str, int]) -> list[str]:
        """A worker for each shard, neighbours on one, by the workers' numbers of threads."""
        threads = np.cumsum(list(workers.values()))
        ends, addresses = threads * self.count // threads[-1], list(workers)
        return [addresses[np.searchsorted(ends, s, side="right")] for s in range(self.count)]

    def settle(self, references: list[Reference]) -> None:
        """Let what is kept, and was made where it was to stay, go anywhere should it be lost."""
        with self._guarded():
            self.client.sync(self.client.scheduler.set_restrictions, worker={future.key: [] for future in references})

    def _gathered(self, futures: list[Reference]) -> list[Any]:
        """Values of futures; WorkersChangedError where a worker is lost that they are, or are to be, made by.

        It may be lost when it has made them and before they are here, and nobody else may make them again.
        """
        coming = self.client.gather(futures, direct=self._direct, asynchronous=True)
        pending = asyncio.run_coroutine_threadsafe(coming, self.client.loop.asyncio_loop)
        try:
            # Not by a timeout of result(): a task may end in a TimeoutError of its own.
            while not concurrent.futures.wait([pending], timeout=1).done:
                if self._places and not set(self._places) <= set(self.client.nthreads()):
                    raise WorkersChangedError("a worker was lost")
            return list(pending.result())
        finally:
            pending.cancel()

    def _columns(self, arguments: tuple[Any, ...]) -> list[list[Any]]:
        """Each argument for each shard."""
        return [
            [self._argument(value) for value in argument]
            if isinstance(argument, list)
            else [self._argument(argument)] * self.count
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
            return self._gathered(list(references))

    def total(self, name: str, add: Add, function: Callable[..., Any], *arguments: Any) -> Any:
        """Sum of what a function returns for each shard: where that is, of neighbours first.

        Few workers have one task each, which does without what it takes to have one follow another (some 8 ms), and
        the rest is added here. Many workers send one another sums in one graph.
        """
        if self._few:
            return self._total_of_few(name, add, function, arguments)
        level = self.map(name, function, *arguments)
        with self._guarded():
            results = [self._summed(self.key(f"{name}-sum"), add, level)]
            del level
            return self._gathered(results)[0]

    def _total_of_few(self, name: str, add: Add, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        assert self._places is not None
        tree, key, calls = tree_of(self.count), self.key(name), []
        by_place = trees_by_place(tree, self._places)
        with self._guarded(), unwarned():
            for n, (address, trees) in enumerate(by_place.items()):
                shards = [s for part in trees for s in shards_of(part)]
                given = [
                    {s: self._argument(argument[s]) for s in shards}
                    if isinstance(argument, list)
                    else self._argument(argument)
                    for argument in arguments
                ]
                task = (add, function, trees, *given)
                calls.append(self.client.submit(sums_of, *task, key=f"{key}-{n}", pure=False, workers=[address]))
            # Only now the ones before go: the client sends once in 10 ms, and what is released with what is asked for.
            self._asked = calls
            sums = self._gathered(calls)
        parts = zip(by_place.values(), sums, strict=True)
        known = {tree: value for trees, values in parts for tree, value in zip(trees, values, strict=True)}
        return sum_of(tree, add, known.get)

    def _summed(self, key: str, add: Add, values: list[Reference]) -> Reference:
        """Sum of the shards' values over neighbours, neighbours of these, ..., each sum where its left part is."""
        level = [(value, self._places[s] if self._places else None) for s, value in enumerate(values)]
        graphs: dict[str | None, dict[str, Any]] = {address: {} for _, address in level}
        for depth in itertools.count():
            if len(level) == 1:
                break
            sums = []
            for n, ((left, address), (right, _)) in enumerate(zip(level[::2], level[1::2], strict=False)):
                graphs[address][f"{key}-{depth}-{n}"] = (add, left, right)
                sums.append((f"{key}-{depth}-{n}", address))
            level = [*sums, *level[2 * len(sums) :]]
        found: dict[Any, Reference] = {}
        # Neighbouring shards are on one worker: what a sum takes from another is on a later one.
        for address, graph in reversed(graphs.items()):
            if not graph:
                continue
            inside = {part for _, *parts in graph.values() for part in parts if isinstance(part, str)} & graph.keys()
            ends = sorted(graph.keys() - inside)
            graph = {place: (add, *(found.get(part, part) for part in parts)) for place, (_, *parts) in graph.items()}
            where = [address] if address else None
            found |= zip(ends, self.client.get(graph, ends, sync=False, workers=where), strict=True)
        return found.get(level[0][0], level[0][0])

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
