"""One contender, one data set, in a process of its own: fits, times each sweep, evaluates the loss between the sweeps.

Started by ``race.py`` with the interpreter that has the contender; reads one JSON object of settings from standard
input and writes one JSON object of results to standard output.

The objective is  sum over ALL pairs of c (phi - x)^2 + lambda (|P|^2 + |Q|^2),  c = 1 + alpha and phi = 1 on stored
pairs, c = 1 and phi = 0 elsewhere.  Each library spells it differently (``race.py --check`` proves each line):

- fastals:  ``confidence="linear", objective="hu", regularization_exponent=0``; alpha and lambda as they stand.
- implicit: a stored confidence c enters the normal equations as (c - 1) y y' and c y, the ridge is its
  ``regularization`` as it stands; so on data of ones its ``alpha`` is 1 + alpha.
- irspack:  ``loss_type=ORIGINAL`` has c = alpha0 + X and phi = 1 on stored pairs, alpha0 elsewhere, and the ridge
  reg (alpha0 n + n_u)^nu; so alpha0 = 1, nu = 0, reg = lambda and the data are alpha times the ones.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from race_data import dense_half_sweep, dense_loss, generate, hu_loss, load

Factors = tuple[np.ndarray, np.ndarray]

# What ``name:setting`` sets: the residual tolerance of fastals, the CG steps or the subspace dimension of the peers.
EXACT = {
    "fastals": "1e-7",
    "fastals-cg": "1e-7",
    "fastals-cholesky": "",
    "implicit-cg": "30",
    "implicit-cholesky": "",
    "irspack-cg": "30",
    "irspack-cholesky": "",
    "irspack-ials++": "1000",
}


class Enough(Exception):  # noqa: N818 (an end, not an error)
    """Raised out of a library's callback, where the callback's return value cannot stop the fit."""


class Watch:
    """Adds up the time of the sweeps; stands still while the loss is evaluated.

    The clock starts when the library is handed the matrix, so the transpose and the initial factors are in the first
    sweep of everybody; ``tail`` is what the library does after its last sweep.
    """

    def __init__(self, sweeps: int, cap: float, evaluate: Callable[[np.ndarray, np.ndarray], float], each: bool):
        self.sweeps, self.cap, self.evaluate, self.each = sweeps, cap, evaluate, each
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.peak = 0.0
        self._total = 0.0
        forget_peak_memory()
        self._since = time.perf_counter()

    def lap(self, factors: Callable[[], Factors]) -> bool:
        """Note the end of a sweep; True when the contender should stop.

        Evaluates the loss of ``factors()`` after each sweep, or only after the last one.
        """
        self._total += time.perf_counter() - self._since
        self.seconds.append(self._total)
        self.peak = max(self.peak, peak_memory())
        enough = len(self.seconds) >= self.sweeps or (self._total > self.cap and len(self.seconds) > 1)
        if self.each or enough:
            self.losses.append(self.evaluate(*factors()))
            forget_peak_memory()
            time.sleep(0.05)  # the evaluation's BLAS threads spin for about 16 ms on the cores of the next sweep
        self._since = time.perf_counter()
        return enough

    def stop(self) -> float:
        """Seconds since the last sweep ended."""
        self.peak = max(self.peak, peak_memory())
        return time.perf_counter() - self._since


def peak_memory() -> float:
    """Largest resident size in MiB, since ``forget_peak_memory`` where the kernel can forget."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss of a new program starts at the size of the process that started it; VmHWM starts afresh.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    per_mib = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mib


def forget_peak_memory() -> None:
    """Set the kernel's high-water mark back to the present size, so that the evaluator's memory is nobody's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def run_fastals(matrix: sp.csr_matrix, settings: dict[str, Any], start: Factors | None, watch: Watch) -> float:
    from fastals import ImplicitALS

    solver = "cholesky" if settings["kind"] == "fastals-cholesky" else "cg"
    # Sweep against sweep: plain alternating least squares, as the peers' is.
    extra: dict[str, Any] = {} if settings["kind"] == "fastals" else {"solver": solver, "acceleration": False}
    if settings["variant"]:
        extra["tol"] = float(settings["variant"])
    model = ImplicitALS(
        settings["factors"],
        alpha=settings["alpha"],
        regularization=settings["regularization"],
        regularization_exponent=0.0,
        confidence="linear",
        objective="hu",
        iterations=watch.sweeps,
        num_threads=settings["threads"],
        random_state=0,
        **extra,
    )
    given = {} if start is None else {"user_factors": start[0], "item_factors": start[1]}
    model.fit(matrix, callback=lambda m, *_: watch.lap(lambda: (m.user_factors, m.item_factors)), **given)
    return watch.stop()


def run_implicit(matrix: sp.csr_matrix, settings: dict[str, Any], start: Factors | None, watch: Watch) -> float:
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # its own warning asks for this: its OpenMP threads call BLAS each by itself
        model = AlternatingLeastSquares(
            settings["factors"],
            regularization=settings["regularization"],
            alpha=1.0 + settings["alpha"],
            dtype=np.float32,
            use_native=True,
            use_cg=settings["kind"] == "implicit-cg",
            use_gpu=False,
            iterations=watch.sweeps,
            calculate_training_loss=False,
            num_threads=settings["threads"],
            random_state=0,
        )
        if settings["variant"]:
            model.cg_steps = int(settings["variant"])
        if start is not None:
            model.user_factors, model.item_factors = start

        def callback(*_: Any) -> None:
            if watch.lap(lambda: (model.user_factors, model.item_factors)) and len(watch.seconds) < watch.sweeps:
                raise Enough

        try:
            model.fit(matrix, show_progress=False, callback=callback)
        except Enough:
            return 0.0
        return watch.stop()


def run_irspack(matrix: sp.csr_matrix, settings: dict[str, Any], start: Factors | None, watch: Watch) -> float:
    from irspack.recommenders.ials import IALSTrainer, LossType, SolverType

    kind = settings["kind"].removeprefix("irspack-")
    number = int(settings["variant"] or (3 if kind == "cg" else 64))  # its own defaults
    scaled = matrix.copy()
    scaled.data *= np.float32(settings["alpha"])
    trainer = IALSTrainer(
        scaled,
        n_components=settings["factors"],
        alpha0=1.0,
        reg=settings["regularization"],
        nu=0.0,
        init_std=0.1,
        solver_type={"cg": SolverType.CG, "cholesky": SolverType.CHOLESKY, "ials++": SolverType.IALSPP}[kind],
        max_cg_steps=number,
        ialspp_subspace_dimension=min(number, settings["factors"]),
        loss_type=LossType.ORIGINAL,
        random_seed=0,
        n_threads=settings["threads"],
        prediction_time_max_cg_steps=5,
        prediction_time_ialspp_iteration=1,
    )
    core = trainer.core_trainer
    if start is not None:
        core.user, core.item = start
    enough = False
    while not enough:
        trainer.run_epoch()
        enough = watch.lap(lambda: (core.user, core.item))
    return 0.0


RUNNERS = {"fastals": run_fastals, "implicit": run_implicit, "irspack": run_irspack}


def random_start(shape: tuple[int, int], factors: int) -> Factors:
    """Normal factors of standard deviation 0.1 / sqrt(k)."""
    rng = np.random.default_rng(0)
    scale = np.float32(0.1 / np.sqrt(factors))
    p, q = (rng.standard_normal((n, factors), dtype=np.float32) * scale for n in shape)
    return p, q


def race(settings: dict[str, Any]) -> dict[str, Any]:
    """Run one contender on one data set and report seconds, losses and memory."""
    library = settings["kind"].split("-")[0]
    runner = RUNNERS[library]
    matrix = load(settings["data"], Path(settings["folder"]))
    # Compiles (fastals), starts threads and loads BLAS (all) on rows from one entry to hundreds, outside of the clock.
    user, item = generate(600, 500, 60)
    tiny = sp.csr_matrix((np.ones(user.size, np.float32), (user, item)), shape=(600, 500))
    tiny.sum_duplicates()
    tiny.data[:] = 1.0
    runner(tiny, settings, None, Watch(5, 60.0, lambda *_: 0.0, each=True))

    # implicit begins with uniform factors in (0, 0.01), all of one sign: on ml-1m 40 sweeps of its CG then end 2 %
    # above what they reach from normal ones. "best" therefore gives it those; the others begin well by themselves.
    given = settings["start"] == "common" or (settings["start"] == "best" and library == "implicit")
    start = random_start(matrix.shape, settings["factors"]) if given else None

    def evaluate(p: np.ndarray, q: np.ndarray) -> float:
        return hu_loss(matrix, p, q, settings["alpha"], settings["regularization"], settings["threads"])

    forget_peak_memory()
    before = peak_memory()
    watch = Watch(settings["sweeps"], settings["cap"], evaluate, settings["evaluate"])
    tail = runner(matrix, settings, start, watch)
    return {
        "version": sys.modules[library].__version__,
        "shape": [*matrix.shape, int(matrix.nnz)],
        "seconds": watch.seconds,
        "tail": tail,
        "losses": watch.losses if settings["evaluate"] else [],
        "last_loss": watch.losses[-1],
        "memory_before_mib": before,
        "memory_peak_mib": watch.peak,
    }


def check(settings: dict[str, Any]) -> dict[str, Any]:
    """One sweep from given factors against the dense normal equations: largest error relative to the largest entry.

    A sweep solves users from the given items and then items from those users (implicit, irspack), or the other way
    round (fastals); each half is compared with the oracle fed with the very factors that half was given.
    """
    alpha, ridge = settings["alpha"], settings["regularization"]
    rng = np.random.default_rng(1)
    matrix = sp.csr_matrix((rng.random((90, 70)) < 0.2).astype(np.float32))
    matrix.data[:] = 1.0
    p0, q0 = (rng.standard_normal((n, settings["factors"]), dtype=np.float32) for n in matrix.shape)
    solved: list[np.ndarray] = []

    def evaluate(p: np.ndarray, q: np.ndarray) -> float:
        solved[:] = p.copy(), q.copy()
        return hu_loss(matrix, p, q, alpha, ridge, settings["threads"])

    watch = Watch(1, 60.0, evaluate, each=True)
    RUNNERS[settings["kind"].split("-")[0]](matrix, settings, (p0.copy(), q0.copy()), watch)
    p, q = solved

    def error(got: np.ndarray, side: sp.csr_matrix, fixed: np.ndarray) -> float:
        expected = dense_half_sweep(side, fixed, alpha, ridge)
        return float(np.abs(got - expected).max() / np.abs(expected).max())

    users_first = max(error(p, matrix, q0), error(q, matrix.T.tocsr(), p))
    items_first = max(error(q, matrix.T.tocsr(), p0), error(p, matrix, q))
    full = dense_loss(matrix, p, q, alpha, ridge)
    return {
        "order": "users first" if users_first < items_first else "items first",
        "factor_error": min(users_first, items_first),
        "loss_error": abs(watch.losses[0] - full) / full,
    }


if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump((check if given["check"] else race)(given), sys.stdout)
