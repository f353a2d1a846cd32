"""Spark's ALS (implicitPrefs) beside fastals on one machine: the same data, objective, rank and number of sweeps.

    python asv_benchmarks/spark_race.py FOLDER [--datasets ml-1m-ncf generated] [--factors 64 128] [--publish]

sets up pyspark in an environment of its own (``--spark-env``); a Java runtime must be there. Each contender has a
process of its own and as many threads as ``--threads``: ``fastals``, ``plain`` (its sweeps without acceleration, which
is what Spark does), ``dask`` (workers of one thread each), and ``spark``, in local mode, with its default number of
blocks. A fit of one sweep warms everybody up. Seconds a sweep are those of ``--sweeps`` less those of one more, divided
by the difference, so that what is done once is left out: the median of five such pairs, or of as many as begin within
a minute. Spark's table lies in its memory before the clock starts. Memory is the largest that all processes of a
contender held at once, page cache left out.

Spark minimises  sum over ALL pairs of c (phi - x)^2 + regParam (sum n_u |p_u|^2 + sum n_i |q_i|^2),  c = 1 + alpha r.
fastals has  lambda_u = regularization (n_u + c0 n_items);  with all weights times ``SCALE`` the second term vanishes
beside the first, and the same factors are best. The loss is that formula for everybody, evaluated here in float64.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SCALE = 2.0**-30
ALPHA, PENALTY = 10.0, 0.1
GENERATED = {"users": 200_000, "items": 40_000, "pairs": 15_000_000}
CONTENDERS = ("fastals", "plain", "dask", "spark")


def write_pairs(name, path, data):
    """The data set as a Parquet file of user, item and value."""
    import pyarrow
    import pyarrow.parquet

    if name == "generated":
        from store_scaling import batches

        user, item, value = (np.concatenate(part) for part in zip(*batches(**GENERATED, equal=False), strict=True))
    else:
        from race_data import load

        matrix = load(name, data).tocoo()
        user, item, value = matrix.row, matrix.col, matrix.data
    columns = {"user": user.astype(np.int32), "item": item.astype(np.int32), "value": value.astype(np.float32)}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=1 << 20)


def read_pairs(path):
    """The file as a CSR matrix."""
    import pyarrow.parquet
    import scipy.sparse as sp

    table = pyarrow.parquet.read_table(path)
    user, item, value = (table[name].to_numpy() for name in ("user", "item", "value"))
    matrix = sp.csr_array((value, (user, item)))
    matrix.sum_duplicates()
    return matrix


def parameters(options):
    weights = {"unobserved_weight": SCALE, "alpha": SCALE * ALPHA, "regularization": SCALE * PENALTY}
    fixed = {"confidence": "linear", "objective": "hu", "regularization_exponent": 1.0, "random_state": 0}
    return {"factors": options.factors[0], **weights, **fixed}


def differences(fit, sweeps):
    """Seconds of ``fit(sweeps)`` less those of ``fit(1)``, again and again until that has taken a minute."""
    found, began = [], time.perf_counter()
    fit(1)
    while len(found) < 5 and (not found or time.perf_counter() - began < 60):
        seconds = []
        for number in (1, sweeps):
            start = time.perf_counter()
            model = fit(number)
            seconds.append(time.perf_counter() - start)
        found.append(seconds[1] - seconds[0])
    return found, model


def fit_fastals(options, acceleration):
    from fastals import ImplicitALS

    matrix = read_pairs(options.pairs)
    given = {"num_threads": options.threads, "acceleration": acceleration, **parameters(options)}
    seconds, model = differences(lambda sweeps: ImplicitALS(iterations=sweeps, **given).fit(matrix), options.sweeps)
    np.savez(options.result, users=model.user_factors, items=model.item_factors)
    return seconds


def fit_dask(options):
    from distributed import Client, LocalCluster

    from fastals.distributed import DaskImplicitALS

    matrix = read_pairs(options.pairs)
    given = parameters(options)
    local = {"threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with LocalCluster(options.threads, **local) as cluster, Client(cluster):
        seconds, model = differences(
            lambda sweeps: DaskImplicitALS(iterations=sweeps, **given).fit(matrix), options.sweeps
        )
        model = model.to_local()
    np.savez(options.result, users=model.user_factors, items=model.item_factors)
    return seconds


def fit_spark(options):
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{options.threads}]").config("spark.driver.memory", options.memory)
    spark = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    table = spark.read.parquet(str(options.pairs)).cache()
    table.count()
    names = {"userCol": "user", "itemCol": "item", "ratingCol": "value"}
    given = {"rank": options.factors[0], "implicitPrefs": True, "alpha": ALPHA, "regParam": PENALTY, "seed": 0, **names}
    seconds, model = differences(lambda sweeps: ALS(maxIter=sweeps, **given).fit(table), options.sweeps)
    found = {}
    for side, frame in (("users", model.userFactors), ("items", model.itemFactors)):
        rows = frame.collect()
        found[side] = np.zeros((max(row.id for row in rows) + 1, options.factors[0]), np.float32)
        for row in rows:
            found[side][row.id] = row.features
    np.savez(options.result, **found)
    spark.stop()
    return seconds


def fit(options):
    """One contender, in its process."""
    kind = options.inside
    if kind == "spark":
        return fit_spark(options)
    if kind == "dask":
        return fit_dask(options)
    return fit_fastals(options, False if kind == "plain" else "auto")


def loss(matrix, users, items):
    """Spark's loss of these factors; rows and columns that nobody has may be missing."""
    users, items = (
        np.pad(part.astype(np.float64), ((0, size - len(part)), (0, 0)))
        for part, size in zip((users, items), matrix.shape, strict=True)
    )
    total = np.sum((users.T @ users) * (items.T @ items))
    per_user = np.diff(matrix.indptr)
    per_item = np.bincount(matrix.indices, minlength=matrix.shape[1])
    total += PENALTY * (per_user @ (users**2).sum(axis=1) + per_item @ (items**2).sum(axis=1))
    of_pair = np.repeat(np.arange(matrix.shape[0]), per_user)
    for begin in range(0, matrix.nnz, 1 << 20):
        part = slice(begin, begin + (1 << 20))
        x = np.einsum("ij,ij->i", users[of_pair[part]], items[matrix.indices[part]])
        total += np.sum((1 + ALPHA * matrix.data[part].astype(np.float64)) * (1 - x) ** 2 - x**2)
    return float(total)


def tree(root):
    """A process and all that it started."""
    children = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found


def watch(process, largest):
    """Note the largest anonymous memory that the process and what it started hold at once."""
    while process.poll() is None:
        total = 0
        for number in tree(process.pid):
            try:
                lines = Path(f"/proc/{number}/status").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
        largest[0] = max(largest[0], total)
        time.sleep(0.1)


def spark_python(folder):
    """The interpreter of Spark's environment, made where there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        (folder / ".gitignore").write_text("*\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "pyspark", "numpy"], check=True)
    return str(python)


def race(contender, pairs, factors, options):
    """Seconds a sweep, largest memory and loss of one contender."""
    python = spark_python(options.spark_env) if contender == "spark" else sys.executable
    result = options.folder / "factors.npz"
    given = [f"--pairs={pairs}", f"--factors={factors}", f"--sweeps={options.sweeps}", f"--threads={options.threads}"]
    command = [python, __file__, str(options.folder), *given, f"--memory={options.memory}", f"--inside={contender}"]
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)} if contender != "spark" else dict(os.environ)
    process = subprocess.Popen([*command, f"--result={result}"], stdout=subprocess.PIPE, text=True, env=env)
    largest = [0]
    thread = threading.Thread(target=watch, args=(process, largest))
    thread.start()
    output = process.communicate()[0]
    thread.join()
    if process.returncode:
        raise SystemExit(f"{contender} ended with {process.returncode}")
    seconds = np.median(json.loads(output.splitlines()[-1])) / (options.sweeps - 1)
    with np.load(result) as found:
        value = loss(read_pairs(pairs), found["users"], found["items"])
    result.unlink()
    return {"seconds": float(seconds), "memory": largest[0], "loss": value}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for the tables and factors")
    parser.add_argument("--datasets", nargs="+", default=["ml-1m-ncf", "generated"])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--factors", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--sweeps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--spark-env", type=Path, default=HERE / ".spark")
    parser.add_argument("--memory", default="12g", help="of Spark's process")
    parser.add_argument("--publish", action="store_true")
    for hidden in ("--pairs", "--result", "--inside"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(fit(options)), flush=True)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.datasets:
        pairs = options.folder / f"{name}.parquet"
        if not pairs.exists():
            write_pairs(name, pairs, options.data)
        for factors in options.factors:
            for contender in options.contenders:
                found = race(contender, pairs, factors, options)
                print(json.dumps({"data": name, "factors": factors, "contender": contender, **found}), flush=True)
                rows.append([name, str(factors), contender, found])
    if options.publish:
        publish_rows(rows)


def publish_rows(rows):
    from published import publish

    own = {(name, factors): found for name, factors, contender, found in rows if contender == "fastals"}
    cells = [
        [
            name,
            factors,
            contender,
            f"{found['seconds']:.3f}",
            f"{found['seconds'] / own[name, factors]['seconds']:.1f}",
            f"{found['memory'] / 1e9:.2f} GB",
            f"{100 * (found['loss'] / own[name, factors]['loss'] - 1):+.2f} %",
        ]
        for name, factors, contender, found in rows
    ]
    columns = ["data", "factors", "library", "a sweep, s", "times fastals'", "memory", "loss over fastals'"]
    command = "python asv_benchmarks/spark_race.py FOLDER"
    publish("spark", "Spark's ALS on one machine, the same objective", command, columns, cells)


if __name__ == "__main__":
    main()
