"""All users' top ten with what they have seen left out: fastals, implicit and the bare product, on the same factors.

    python asv_benchmarks/serving_race.py --json serving.json

fits fastals in the regime that recommends best (Rendle objective, c0 0.02, regularization 0.003, exponent 1, ten
sweeps), hands the very same float32 factors to implicit in the peers' environment, and times both in turns.  implicit
runs with its BLAS at one thread, as its own warning advises, and with its BLAS at all threads ("blas").  The bare
product is the NumPy sgemm of all scores in blocks of 1000 users, which selects nothing.  ``--start random`` races on
normal factors, where no bound on a score can leave items out.

fastals is held to exactness: the scores of its lists must be those of the largest allowed entries of the product in
float64, to float32 rounding.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from published import publish
from race import HERE, environment, peers_python
from race_contenders import forget_peak_memory, peak_memory
from race_data import GENERATED, REAL, load
from race_report import aligned

N = 10
CONTENDERS = {
    "fastals": "fastals",
    "implicit": "implicit",
    "implicit-blas": "implicit, BLAS on all threads",
    "sgemm": "NumPy's product of all scores alone",
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--dataset", default="gowalla", choices=REAL + GENERATED)
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data", help="folder of .npz files")
    parser.add_argument("--factors", nargs="+", type=int, default=[64, 128], metavar="K")
    parser.add_argument("--start", choices=["trained", "random"], default="trained", help="which factors")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers-env", type=Path, default=HERE.parent / ".peers-venv")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--publish", action="store_true", help="write the summary that the site shows")
    options = parser.parse_args()
    if not options.data.is_dir() and options.dataset in REAL:
        print(f"{options.data} is not there: racing on generated data", file=sys.stderr)
        options.dataset = "generated-sparse"
    return options


def model_of(matrix: sp.csr_matrix, factors: int, sweeps: int, threads: int, start: str) -> Any:
    """fastals after that many sweeps, or holding normal factors."""
    from fastals import ImplicitALS

    model = ImplicitALS(
        factors,
        objective="rendle",
        alpha=1.0,
        unobserved_weight=0.02,
        regularization=0.003,
        regularization_exponent=1.0,
        iterations=sweeps,
        num_threads=threads,
        random_state=0,
    )
    if start == "trained":
        return model.fit(matrix)
    rng = np.random.default_rng(0)
    p, q = (rng.standard_normal((n, factors), dtype=np.float32) for n in matrix.shape)
    return model.set_params(iterations=0).fit(matrix, user_factors=p, item_factors=q)


def serve(settings: dict[str, Any]) -> dict[str, Any]:
    """Time one contender: best of three calls after one that compiles and warms up, and the memory a call adds."""
    matrix = load(settings["data"], Path(settings["folder"]))
    with np.load(settings["factors_file"]) as arrays:
        users, items = arrays["users"], arrays["items"]
    call = {"fastals": _fastals, "implicit": _implicit, "implicit-blas": _implicit, "sgemm": _sgemm}[settings["kind"]]
    recommend = call(settings, matrix, users, items)
    recommend()
    forget_peak_memory()
    before, seconds = peak_memory(), []
    for _ in range(3):
        began = time.perf_counter()
        got = recommend()
        seconds.append(time.perf_counter() - began)
    added = peak_memory() - before
    if settings["kind"] == "fastals":
        _assert_exact(*got, matrix, users, items)
    return {"seconds": min(seconds), "added_mib": added}


def _fastals(
    settings: dict[str, Any], matrix: sp.csr_matrix, users: np.ndarray, items: np.ndarray
) -> Callable[[], Any]:
    from fastals import ImplicitALS

    model = ImplicitALS.load(settings["model_file"])
    everyone = np.arange(len(users))
    return lambda: model.recommend(everyone, matrix, N=N)


def _implicit(
    settings: dict[str, Any], matrix: sp.csr_matrix, users: np.ndarray, items: np.ndarray
) -> Callable[[], Any]:
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    threadpool_limits(settings["threads"] if settings["kind"] == "implicit-blas" else 1, "blas")
    model = AlternatingLeastSquares(users.shape[1], use_gpu=False, num_threads=settings["threads"])
    model.user_factors, model.item_factors = users, items
    everyone = np.arange(len(users))
    return lambda: model.recommend(everyone, matrix, N=N)


def _sgemm(settings: dict[str, Any], matrix: sp.csr_matrix, users: np.ndarray, items: np.ndarray) -> Callable[[], Any]:
    scores = np.empty((1000, len(items)), np.float32)

    def product() -> None:
        for begin in range(0, len(users), 1000):
            block = users[begin : begin + 1000]
            np.matmul(block, items.T, out=scores[: len(block)])

    return product


def _assert_exact(
    ids: np.ndarray, got: np.ndarray, matrix: sp.csr_matrix, users: np.ndarray, items: np.ndarray
) -> None:
    for u in range(0, len(users), 97):
        scores = items.astype(np.float64) @ users[u].astype(np.float64)
        scores[matrix.indices[matrix.indptr[u] : matrix.indptr[u + 1]]] = -np.inf
        expected = np.sort(scores)[::-1][:N]
        np.testing.assert_allclose(got[u], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(scores[ids[u]], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def run(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One contender in a process of its own."""
    python = peers_python(options.peers_env) if kind.startswith("implicit") else sys.executable
    settings = {
        "kind": kind,
        "data": options.dataset,
        "folder": str(options.data),
        "threads": options.threads,
        "factors_file": str(folder / "factors.npz"),
        "model_file": str(folder / "model.fastals"),
    }
    env = environment(options.threads)
    done = subprocess.run(
        [python, str(Path(__file__).resolve()), "--serve"],
        input=json.dumps(settings),
        capture_output=True,
        text=True,
        env=env,
    )
    if done.returncode:
        raise SystemExit(f"{kind}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = parse()
    sys.path.insert(0, str(HERE.parent))
    matrix = load(options.dataset, options.data)
    runs = []
    for factors in options.factors:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            model = model_of(matrix, factors, 10, options.threads, options.start)
            model.save(folder / "model.fastals")
            np.savez(folder / "factors.npz", users=model.user_factors, items=model.item_factors)
            for repeat in range(options.repeats):
                for kind in options.contenders:
                    runs.append({"contender": kind, "factors": factors, "repeat": repeat, **run(kind, options, folder)})
                    print(runs[-1], file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps({"data": options.dataset, "start": options.start, "runs": runs}))
    rows = [["data", "k", "contender", "seconds", "beside fastals", "beside sgemm", "added MiB"]]
    for factors in options.factors:
        here = [run for run in runs if run["factors"] == factors]
        for kind in options.contenders:
            own = [run for run in here if run["contender"] == kind]
            seconds = statistics.median(run["seconds"] for run in own)
            added = statistics.median(run["added_mib"] for run in own)
            beside = [_beside(here, own, rival) for rival in ("fastals", "sgemm")]
            rows.append([options.dataset, str(factors), kind, f"{seconds:.3f}", *beside, f"{added:.0f}"])
    print(aligned(rows))
    if options.publish:
        title = f"Top {N} of {matrix.shape[1]:,} items for all {matrix.shape[0]:,} users of {options.dataset}"
        columns = ["factors", *(f"{CONTENDERS[kind]}, s" for kind in options.contenders)]
        seconds = {(row[2], row[1]): row[3] for row in rows[1:]}
        table = [[k, *(seconds[kind, str(k)] for kind in options.contenders)] for k in options.factors]
        publish("serving", title, "python asv_benchmarks/serving_race.py --json serving.json", columns, table)


def _beside(runs: list[dict[str, Any]], own: list[dict[str, Any]], rival: str) -> str:
    """Median over repeats of a contender's seconds over the rival's in the same repeat."""
    base = {run["repeat"]: run["seconds"] for run in runs if run["contender"] == rival}
    return f"{statistics.median(run['seconds'] / base[run['repeat']] for run in own):.2f}" if base else ""


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        json.dump(serve(json.load(sys.stdin)), sys.stdout)
    else:
        main()
