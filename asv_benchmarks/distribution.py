"""What distribution costs on one machine: workers of a thread each against one process of as many threads.

    python distribution.py FOLDER [--users 1000000] [--items 200000] [--pairs 100000000] [--factors 64] [--sweeps 4]
                           [--workers 2] [--pairs-per-shard N] [--steps store,local,dask]

Steps, each a process of its own and a line of JSON: ``store`` (FOLDER/store, seeded, in batches), ``local`` (a fit
from it, of ``--workers`` threads) and ``dask`` (``DaskImplicitALS`` on as many worker processes). The last line holds
them against one another: seconds a sweep, bytes a sweep against the formula of the guide, and the losses.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from store_scaling import batches


def expected_bytes(shape, factors, workers, reports):
    """Bytes a sweep by the formula: each worker gets and gives what concerns an item once, and once a step of it.

    With the width w, ``factors`` rounded up to 16, a sweep sends each worker 4 w bytes of each item for the users'
    half-sweep, and gets 4 k of each for the right-hand sides; each item's step sends and gets 4 k.
    """
    width = -(-factors // 16) * 16
    users = 4 * width * shape[1] * (1 + 1 / len(reports))  # and once more in the end
    steps = np.mean([items.steps for items, _ in reports])
    directly = np.mean([items.direct + items.fallbacks for items, _ in reports])
    small = 8 * factors**2 + 4 * 4 * width**2
    return workers * (users + 4 * factors * (shape[1] + 2 * steps) + 8 * width * (width + 3) * directly + small)


def timed(fit, sweeps):
    """Median seconds of the sweeps after the first, which may compile, and all of them."""
    times, reports = [time.perf_counter()], []

    def callback(model, sweep, loss):
        times.append(time.perf_counter())
        reports[:] = model.training_state().reports

    model = fit(callback)
    seconds = np.diff(times)
    median = float(np.median(seconds[1:] if sweeps > 1 else seconds))
    return model, reports, {"seconds_a_sweep": round(median, 3), "sweeps": seconds.round(2).tolist()}


def store(folder, options):
    from fastals import InteractionStore

    if (folder / "store").exists():
        return {}
    given = batches(options.users, options.items, options.pairs, False)
    made = InteractionStore.build(given, folder / "store", memory_limit="2GB")
    return {"shape": made.shape, "stored": made.nnz}


def local(folder, options):
    from fastals import ImplicitALS, InteractionStore

    data = InteractionStore.open(folder / "store")
    model = ImplicitALS(options.factors, iterations=options.sweeps, random_state=0, num_threads=options.workers)
    model, _, found = timed(lambda callback: model.fit(data, callback=callback), options.sweeps)
    return {**found, "loss": model.loss_history[-1]}


def dask(folder, options):
    from distributed import Client, LocalCluster

    from fastals import InteractionStore
    from fastals.distributed import DaskImplicitALS

    data = InteractionStore.open(folder / "store")
    with (
        LocalCluster(options.workers, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster,
        Client(cluster),
    ):
        model = DaskImplicitALS(
            options.factors, iterations=options.sweeps, random_state=0, pairs_per_shard=options.pairs_per_shard
        )
        model, reports, found = timed(lambda callback: model.fit(data, callback=callback), options.sweeps)
        report = model.solver_report_
    expected = expected_bytes(data.shape, options.factors, options.workers, reports)
    seconds = {name: round(value, 2) for name, value in report.items() if name.startswith("seconds_")}
    return {
        **found,
        **seconds,
        "shards": model.n_shards_,
        "bytes_a_sweep": round(report["bytes_per_sweep"]),
        "bytes_of_the_formula": round(report["bytes_per_sweep"] / expected, 3),
        "loss": model.loss_history[-1],
    }


STEPS = {"store": store, "local": local, "dask": dask}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("users", 10**6), ("items", 2 * 10**5), ("pairs", 10**8), ("factors", 64), ("sweeps", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs-per-shard", type=int)
    parser.add_argument("--steps", default="store,local,dask")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps({"step": options.steps, **STEPS[options.steps](options.folder, options)}), flush=True)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for step in options.steps.split(","):
        given = [part for part in sys.argv[1:] if not part.startswith("--steps=")]
        command = [sys.executable, __file__, *given, f"--steps={step}", "--inside"]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        print(line, flush=True)
        found[step] = json.loads(line)
    if {"local", "dask"} <= found.keys():
        ratio = found["dask"]["seconds_a_sweep"] / found["local"]["seconds_a_sweep"]
        difference = found["dask"]["loss"] / found["local"]["loss"] - 1
        print(json.dumps({"seconds_ratio": round(ratio, 3), "loss_difference": difference}))


if __name__ == "__main__":
    main()
