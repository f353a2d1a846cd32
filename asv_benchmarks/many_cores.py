"""What more threads than this machine has would give: a model of a sweep, fed with parts that are measured here.

    python asv_benchmarks/many_cores.py --datasets ml-1m-ncf gowalla --factors 256

times the parts of both half-sweeps on one thread: Gramian, basis (a Cholesky factor and its inverse; with an
``--exponent`` of lambda above 0 the eigenproblem, of which the groups of eigenvectors are a part of their own),
rotation, row solves, extrapolation; what is left of a whole sweep counts as serial. A parallel part of T seconds takes
T longest / total  on p threads, with the work of all tasks and that of the thread that has most, as the library deals
tasks out. The basis and the rest do not get faster. Memory that all threads share is no part of the model, so its times
are lower bounds; how far they hold on this machine's own threads the last line tells, a sweep measured there over what
the model says.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from race_data import GENERATED, REAL, load

from fastals import ImplicitALS
from fastals.core.state import State
from fastals.kernels.dense.eigenvectors import LANES
from fastals.solver import eigenbasis as basis_of
from fastals.solver import eigenproblem
from fastals.solver.fitting import Given, prepare
from fastals.solver.half import Half, extrapolate
from fastals.solver.half_sweep import solve_side
from fastals.solver.sides import ROW_COST, even_bounds
from fastals.solver.sweeps import Training

HERE = Path(__file__).resolve().parent
SETTLED = 5  # sweeps before one is measured


class Part(NamedTuple):
    """Seconds on one thread, and the work of each task; no tasks for what is serial."""

    seconds: float
    tasks: np.ndarray

    def on(self, threads: int) -> float:
        """Seconds on so many threads, each of which takes every so-many-th task."""
        if not self.tasks.size:
            return self.seconds
        shares = np.bincount(np.arange(self.tasks.size) % threads, self.tasks)
        return self.seconds * float(shares.max() / shares.sum())


def least(function: Callable[[], object], repeats: int = 5) -> float:
    """Least seconds of a call."""
    seconds = []
    for _ in range(repeats):
        since = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - since)
    return min(seconds)


def least_of_groups(basis: Callable[[], object]) -> float:
    """Least seconds that groups of eigenvectors take of a basis on one thread."""
    seconds, run = [0.0], eigenproblem.run_tasks

    def timed(*arguments: object) -> None:
        seconds.append(least(lambda: run(*arguments), 1))

    eigenproblem.run_tasks = timed
    try:
        for _ in range(5):
            basis()
    finally:
        eigenproblem.run_tasks = run
    return min(seconds[1:], default=0.0)


def half_sweep_parts(training: Training, half: Half, other: Half) -> dict[str, Part]:
    """Parts of solving one side against the other."""
    Y, weights, objective = other.factors, other.side.regularization, training.objective
    settings = replace(training.settings, tolerance=training._tolerance)
    _, places, bounds = basis_of.tiling(*Y.shape)
    found = basis_of.eigenbasis(Y, weights, objective.c0, 1, shared=half.side.shared_with(half.effects))
    G, _ = basis_of.gramian(Y, weights, 1)
    rotated, solved = np.empty_like(found.rotated), np.empty_like(half.factors)

    def basis() -> None:
        basis_of.basis_of(Y[:0], G, 0.0, objective.c0, 1, shared=half.side.shared_with(half.effects))

    gramian = least(lambda: basis_of.gramian(Y, weights, 1))
    vectors = least_of_groups(basis)
    rotation = least(lambda: basis_of.rotate(Y, found.into, 1, rotated))
    rows = least(lambda: solve_side(half.side, found, solved, objective, settings), 3)
    cost = half.side.indptr[half.side.bounds] + ROW_COST * half.side.bounds
    return {
        "Gramian": Part(gramian, np.repeat(np.diff(bounds), len(places))),
        "basis": Part(least(basis) - vectors, np.empty(0)),
        "eigenvectors": Part(vectors, np.full(-(-Y.shape[1] // LANES), LANES)),
        "rotation": Part(rotation, np.diff(even_bounds(Y.shape[0], basis_of.ROTATED_RANGES))),
        "rows": Part(rows, np.diff(cost)),
    }


def sweep_parts(training: Training) -> list[tuple[str, Part]]:
    """Parts of a sweep, and as the last one what they leave of a whole sweep on one thread."""
    users, items = training.users, training.items
    parts = [*half_sweep_parts(training, items, users).items(), *half_sweep_parts(training, users, items).items()]
    Q, out = items.factors, np.empty_like(items.factors)
    extrapolation = least(lambda: extrapolate(Q, (0.5, 0.25), (Q, Q), out, 1))
    parts.append(("extrapolation", Part(extrapolation, np.diff(even_bounds(Q.shape[0])))))
    return parts


def settled(data: str, options: argparse.Namespace, factors: int, threads: int) -> tuple[Training, float]:
    """A training after some sweeps, and the seconds of its last one."""
    model = ImplicitALS(
        factors, alpha=10.0, regularization=options.regularization, regularization_exponent=options.exponent,
        num_threads=threads, random_state=0,
    )  # fmt: skip
    training, _ = prepare(model, State(), Given(load(data, options.data)))
    seconds = [least(training.sweep, 1) for _ in range(SETTLED)]
    return training, seconds[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["generated-sparse"], help=f"of {REAL + GENERATED}")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data", help="folder of .npz files")
    parser.add_argument("--factors", nargs="+", type=int, default=[256], metavar="K")
    parser.add_argument("--regularization", type=float, default=10.0, help="lambda of a row of frequency 1")
    parser.add_argument("--exponent", type=float, default=0.0, help="of the frequencies, by which lambda differs")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, 16, 64], metavar="P")
    options = parser.parse_args()
    own = os.cpu_count() or 1
    for data in options.datasets:
        for factors in options.factors:
            training, whole = settled(data, options, factors, 1)
            parts = sweep_parts(training)
            parts.append(("rest", Part(max(whole - sum(part.seconds for _, part in parts), 0.0), np.empty(0))))
            print(f"\n{data}, {factors} factors: ms of a sweep on so many threads, by the model")
            for name in dict.fromkeys(name for name, _ in parts):
                times = [sum(part.on(p) for other, part in parts if other == name) for p in options.threads]
                print(f"{name:14s}" + "".join(f"{1e3 * seconds:10.2f}" for seconds in times))
            sums = [sum(part.on(p) for _, part in parts) for p in options.threads]
            serial = sum(part.seconds for _, part in parts if not part.tasks.size)
            print(f"{'threads':14s}" + "".join(f"{p:10d}" for p in options.threads))
            print(f"{'sweep':14s}" + "".join(f"{1e3 * seconds:10.2f}" for seconds in sums))
            print(f"{'times faster':14s}" + "".join(f"{sums[0] / seconds:10.2f}" for seconds in sums))
            print(f"{'serial, %':14s}" + "".join(f"{100 * serial / seconds:10.2f}" for seconds in sums))
            _, measured = settled(data, options, factors, own)
            predicted = sum(part.on(own) for _, part in parts)
            print(f"measured on {own} threads: {1e3 * measured:.2f} ms, {measured / predicted:.2f} of the model's")


if __name__ == "__main__":
    main()
