"""Cost of a sweep and memory of a fit as the data grow, on generated data.

    python asv_benchmarks/scaling.py --sizes 1e6 1e7 1e8
    python asv_benchmarks/scaling.py --sizes 4e6x2e3x8e6 1e6x2e5x4e7 --values equal counts

Each size runs in a process of its own. A number of pairs alone has as many of them a user and an item at every size
(100 and 500), up to 1,000,000 users and 200,000 items; else users x items x pairs are given. Printed: seconds a sweep,
nanoseconds a stored pair and half-sweep, the greatest resident memory of ``fit`` above what the process held before it
(the caller's matrix excluded), and what is wanted: a copy of the matrix, its transpose and the weights of either, 20
bytes a pair, or 8 where all values are equal; twice the factors of the larger side and three times those of the
smaller.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from published import publish


def shape_of(size: str) -> tuple[int, int, int]:
    """Users, items and pairs of a size: "1e7" or "4e6x2e3x8e6"."""
    numbers = [int(float(number)) for number in size.split("x")]
    if len(numbers) == 3:
        return numbers[0], numbers[1], numbers[2]
    (pairs,) = numbers
    return max(pairs // 100, 1000), max(pairs // 500, 200), pairs


def generated(shape: tuple[int, int, int], values: bool) -> sp.csr_array:
    """Power-law items drawn by inversion, log-normal users; float32 values or ones."""
    n_users, n_items, pairs = shape
    random = np.random.default_rng(0)
    activity = random.lognormal(0, 1, n_users)
    counts = np.minimum(random.poisson(activity * pairs / activity.sum()) + 1, n_items // 2)
    indptr = np.concatenate(([0], np.cumsum(counts)))
    indices = np.empty(indptr[-1], np.int32)
    indptr = indptr.astype(np.int32 if indices.size < 2**31 else np.int64)  # else SciPy makes both int64
    order = random.permutation(n_items).astype(np.int32)
    for first in range(0, indices.size, 2**24):
        part = slice(first, min(first + 2**24, indices.size))
        # Density x^-1/2 on (0, 1): the most popular item has about n_items^-1/2 of the pairs.
        indices[part] = order[(n_items * random.random(part.stop - part.start) ** 2).astype(np.int64)]
    data = random.geometric(0.4, indices.size).astype(np.float32) if values else np.ones(indices.size, np.float32)
    matrix = sp.csr_array((data, indices, indptr), shape=(n_users, n_items))
    matrix.sum_duplicates()
    if not values:
        matrix.data[:] = 1
    return matrix


def resident() -> float:
    """Resident memory in MiB, now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def greatest() -> float:
    """Greatest resident memory in MiB since it was last forgotten."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def measure(shape: tuple[int, int, int], factors: int, sweeps: int, values: bool) -> dict:
    """One size, in this process."""
    from fastals import ImplicitALS

    options = {"alpha": 10.0, "regularization": 10.0, "regularization_exponent": 0.0, "random_state": 0}
    ImplicitALS(factors, iterations=2, **options).fit(generated((1_000, 200, 20_000), values))
    matrix = generated(shape, values)
    held = resident()
    Path("/proc/self/clear_refs").write_text("5")
    ends = [time.perf_counter()]
    model = ImplicitALS(factors, iterations=sweeps, **options)
    model.fit(matrix, callback=lambda *_: ends.append(time.perf_counter()))
    seconds = float(np.median(np.diff(ends)[1:]))
    n_users, n_items = matrix.shape
    larger, smaller = max(n_users, n_items), min(n_users, n_items)
    wanted = (20 if values else 8) * matrix.nnz + 8 * (n_users + n_items) + 4 * factors * (2 * larger + 3 * smaller)
    return {
        "pairs": matrix.nnz,
        "users": n_users,
        "items": n_items,
        "sweep": seconds,
        "ns_a_pair": 1e9 * seconds / (2 * matrix.nnz),
        "first_sweep": ends[1] - ends[0],
        "steps": model.solver_report_["cg_steps"],
        "peak": greatest() - held,
        "wanted": wanted / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["1e6", "1e7", "1e8"], help="pairs, or usersxitemsxpairs")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--sweeps", type=int, default=5)
    parser.add_argument(
        "--values", nargs="+", default=["equal"], choices=("equal", "counts"), help="ones, or values like play counts"
    )
    parser.add_argument("--publish", action="store_true", help="write the table that the site shows")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        size = shape_of(arguments.sizes[0])
        print(json.dumps(measure(size, arguments.factors, arguments.sweeps, arguments.values == ["counts"])))
        return
    rows = []
    for size, values in itertools.product(arguments.sizes, arguments.values):
        command = [sys.executable, __file__, "--child", "--sizes", size, "--factors", str(arguments.factors)]
        command += ["--sweeps", str(arguments.sweeps), "--values", values]
        row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(
            f"{row['pairs']:>11,} pairs  {row['users']:>9,} x {row['items']:>7,}  sweep {row['sweep']:8.3f} s  "
            f"{row['ns_a_pair']:6.1f} ns a pair ({row['steps']:.1f} steps)  peak {row['peak']:8.0f} MiB  "
            f"{row['peak'] / row['wanted']:.2f} of what is wanted",
            flush=True,
        )
        data = f"{row['users']:,} users x {row['items']:,} items, {row['pairs']:,} pairs, values {values}"
        rows.append([data, f"{row['ns_a_pair']:.1f}", f"{row['peak'] / row['wanted']:.2f}"])
    if arguments.publish:
        columns = ["data", "ns a pair and half-sweep", "allocated / wanted"]
        command = " ".join(["python asv_benchmarks/scaling.py", *sys.argv[1:]]).removesuffix(" --publish")
        publish("scaling", f"{arguments.factors} factors", command, columns, rows)


if __name__ == "__main__":
    main()
