"""Stores at scale: built from Parquet and CSV in bounded memory, and a fit from one beside the fit in memory.

    python store_scaling.py FOLDER [--users 1000000] [--items 200000] [--pairs 100000000] [--factors 64] [--sweeps 4]
                            [--equal] [--memory-limit 2GB] [--portions 1] [--steps generate,csv,parquet,...]

Steps, each a process of its own and a line of JSON: ``generate`` (FOLDER/pairs.parquet, seeded, in chunks), ``text``
(the same as FOLDER/pairs.csv), ``parquet`` and ``csv`` (stores built from them), ``store`` and ``memory`` (fits), and
``stream``, which builds the store from batches as they are generated, where the disk has no room for tables: the
first of ``--portions``, then the others appended and all compacted, so that the database holds one portion at a time.
``resident`` is the largest sum of anonymous memory, what the process holds besides the page cache of its maps.

Issue's figures: the defaults; ``--users 21900000 --items 1470000 --pairs 730000000 --factors 20 --equal --sweeps 2
--steps stream,store``; and beyond 2^31 pairs ``--users 40000000 --items 1000000 --pairs 2250000000 --factors 8 --equal
--sweeps 1 --portions 5 --memory-limit 8GB --steps stream,store``.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

CHUNK = 2_000_000


def batches(users, items, pairs, equal):
    """Users, items (and values) of a chunk of users after another; popularity falls like the -2/3rd power of rank."""
    rng = np.random.default_rng(17)
    mean = pairs / users
    step = max(int(CHUNK / mean), 1)
    for first in range(0, users, step):
        count = min(step, users - first)
        counts = np.clip(rng.lognormal(np.log(mean) - 0.5, 1.0, count), 1, items // 2).astype(np.int64)
        ends = np.cumsum(counts + 1)
        path = np.cumsum(rng.standard_exponential(ends[-1]))
        starts = np.concatenate(([0.0], path[ends[:-1] - 1]))
        user = np.repeat(np.arange(count), counts + 1)
        place = (path - starts[user]) / (path[ends - 1] - starts)[user]  # sorted uniform draws of each user
        rank = (items * place**3).astype(np.int64)
        kept = rank < items
        kept[1:] &= (rank[1:] != rank[:-1]) | (user[1:] != user[:-1])
        order = rng.permutation(np.flatnonzero(kept))
        item = rank[order] * 7_368_787 % items if items % 7_368_787 else rank[order]  # popular ones all over the ids
        values = None if equal else 1 + rng.geometric(0.4, order.size).astype(np.float32)
        yield user[order] + first, item, values


def generate(folder, options):
    import pyarrow
    import pyarrow.parquet

    total, writer = 0, None
    for user, item, values in batches(options.users, options.items, options.pairs, options.equal):
        columns = {"user": user, "item": item} | ({} if values is None else {"plays": values})
        table = pyarrow.table(columns)
        writer = writer or pyarrow.parquet.ParquetWriter(folder / "pairs.parquet", table.schema)
        writer.write_table(table)
        total += user.size
    writer.close()
    return {"pairs": total}


def text(folder, options):
    import duckdb

    scan = f"select * from read_parquet('{folder / 'pairs.parquet'}')"
    duckdb.execute(f"copy ({scan}) to '{folder / 'pairs.csv'}' (header true)")
    return {"bytes": (folder / "pairs.csv").stat().st_size}


def build(source, name):
    def run(folder, options):
        from fastals import InteractionStore

        path = folder / name
        shutil.rmtree(path, ignore_errors=True)
        columns = {"user": "user", "item": "item"}
        work = {"memory_limit": options.memory_limit, "show_progress": True}
        store = InteractionStore.build(folder / source, path, **columns, **work)
        return {"shape": store.shape, "stored": store.nnz}

    return run


def stream(folder, options):
    from fastals import InteractionStore

    path, users = folder / "store", 0
    shutil.rmtree(path, ignore_errors=True)
    given = batches(options.users, options.items, options.pairs, options.equal)
    work = {"memory_limit": options.memory_limit, "show_progress": True}
    seconds = [time.perf_counter()]
    for portion in range(1, options.portions + 1):

        def portion_of_users(last=options.users * portion // options.portions):
            nonlocal users
            for batch in given:
                users = int(batch[0].max()) + 1
                yield batch
                if users >= last:
                    return

        if portion == 1:
            store = InteractionStore.build(portion_of_users(), path, **work)
        else:
            store.append(portion_of_users(), compact=False, **work)
        seconds.append(time.perf_counter())
    if options.portions > 1:
        store.compact(show_progress=True)
        seconds.append(time.perf_counter())
    return {"shape": store.shape, "stored": store.nnz, "seconds_by_step": np.diff(seconds).round(1).tolist()}


def fit(in_memory):
    def run(folder, options):
        from fastals import ImplicitALS, InteractionStore

        if not (folder / "store").exists():
            STEPS["parquet"](folder, options)
        data = InteractionStore.open(folder / "store")
        if in_memory:
            data = data.to_matrix()
        times = [time.perf_counter()]
        model = ImplicitALS(options.factors, iterations=options.sweeps, random_state=0)
        model.fit(data, callback=lambda model, sweep, loss: times.append(time.perf_counter()))
        seconds = np.diff(times)
        digest = float(np.abs(model.item_factors.astype(np.float64)).sum())
        return {
            "seconds_a_sweep": float(np.median(seconds[1:] if len(seconds) > 1 else seconds)),
            "sweeps": seconds.round(2).tolist(),
            "factors_bytes": model.user_factors.nbytes + model.item_factors.nbytes,
            "pairs": data.nnz,
            "loss": model.loss_history[-1],
            "digest": digest,
        }

    return run


STEPS = {
    "generate": generate,
    "text": text,
    "parquet": build("pairs.parquet", "store"),
    "csv": build("pairs.csv", "store_csv"),
    "stream": stream,
    "store": fit(False),
    "memory": fit(True),
}


def watched(largest):
    """Keep the largest anonymous and whole resident memory of this process, in bytes."""
    while True:
        lines = Path("/proc/self/status").read_text().splitlines()
        found = {
            line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon", "VmRSS"))
        }
        for name, size in found.items():
            largest[name] = max(largest.get(name, 0), size)
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("users", 10**6), ("items", 2 * 10**5), ("pairs", 10**8), ("factors", 64), ("sweeps", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--equal", action="store_true", help="pairs without values")
    parser.add_argument("--memory-limit", default="2GB")
    parser.add_argument("--portions", type=int, default=1, help="in how many the store is built from batches")
    parser.add_argument("--steps", default="generate,text,parquet,csv,memory,store")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        options.folder.mkdir(parents=True, exist_ok=True)
        for step in options.steps.split(","):
            arguments = [
                f"--{name.replace('_', '-')}={value}"
                for name, value in vars(options).items()
                if name in ("users", "items", "pairs", "factors", "sweeps", "memory_limit", "portions")
            ]
            equal = ["--equal"] * options.equal
            command = [sys.executable, __file__, str(options.folder), *arguments, *equal, f"--steps={step}", "--inside"]
            subprocess.run(command, check=True)
        return
    largest = {}
    threading.Thread(target=watched, args=(largest,), daemon=True).start()
    start = time.perf_counter()
    result = STEPS[options.steps](options.folder, options)
    seconds = time.perf_counter() - start
    memory = {"resident": largest["RssAnon"], "with_maps": largest["VmRSS"]}
    print(json.dumps({"step": options.steps, "seconds": round(seconds, 1), **memory, **result}), flush=True)


if __name__ == "__main__":
    main()
