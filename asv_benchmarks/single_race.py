"""Single requests: fastals and implicit in one process, on the same factors; with threads, with processes, and large.

    python asv_benchmarks/single_race.py --json single.json

needs both libraries in one environment (``pip install fastals implicit hnswlib``) and the BLAS at one thread, as
implicit's own warning advises: the script starts itself anew with OPENBLAS_NUM_THREADS=1. Requests of the two take
turns in blocks of 50. Printed are the medians and 99th percentiles in microseconds.

``--large`` trains 1,000,000 generated items and compares exact lists with the full product, and with hnswlib.
``--publish`` writes the table that the site shows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from published import publish

HERE = Path(__file__).resolve().parent
BLOCK = 50
CANDIDATES = 2_000


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="gowalla")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data", help="folder of .npz files")
    parser.add_argument("--factors", nargs="+", type=int, default=[64, 128], metavar="K")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each run with threads or processes")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--publish", action="store_true", help="write the table that the site shows")
    return parser.parse_args()


class Requests:
    """The same requests for both libraries."""

    def __init__(self, matrix: sp.csr_matrix, number: int) -> None:
        random = np.random.default_rng(1)
        self.users = random.permutation(matrix.shape[0])[:number]
        self.rows = [matrix[int(user)] for user in self.users]
        self.items = random.permutation(matrix.shape[1])[:number]
        self.candidates = [random.permutation(matrix.shape[1])[:CANDIDATES].astype(np.int32) for _ in range(number)]

    def calls(self) -> dict[str, Callable[[Any, int], Any]]:
        """What is asked of a model, by name, given the number of the request."""
        return {
            "recommend": lambda model, n: model.recommend(int(self.users[n]), self.rows[n]),
            "recalculate": lambda model, n: model.recommend(int(self.users[n]), self.rows[n], recalculate_user=True),
            "similar items": lambda model, n: model.similar_items(int(self.items[n])),
            "candidates": lambda model, n: model.recommend(int(self.users[n]), self.rows[n], items=self.candidates[n]),
        }


def percentiles(seconds: list[float]) -> list[float]:
    return [round(float(value), 1) for value in np.percentile(np.array(seconds) * 1e6, [50, 99])]


def take_turns(models: dict[str, Any], call: Callable[[Any, int], Any], number: int) -> dict[str, list[float]]:
    """Median and 99th percentile of each model's requests, in microseconds."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for first in range(0, number, BLOCK):
        for name, model in models.items():
            call(model, first)
            for n in range(first, min(first + BLOCK, number)):
                began = time.perf_counter()
                call(model, n)
                seconds[name].append(time.perf_counter() - began)
    return {name: percentiles(times) for name, times in seconds.items()}


def serve_until(stop: float, model: Any, call: Callable[[Any, int], Any], number: int, seed: int) -> list[float]:
    """Seconds of each of the requests that one client makes until a time."""
    seconds, n = [], seed
    while time.perf_counter() < stop:
        began = time.perf_counter()
        call(model, n % number)
        seconds.append(time.perf_counter() - began)
        n += 7
    return seconds


def throughput(clients: list[list[float]], seconds: float) -> dict[str, Any]:
    times = [value for client in clients for value in client]
    return {"requests a second": round(len(times) / seconds), "p50, p99": percentiles(times)}


def with_threads(model: Any, call: Callable[[Any, int], Any], options: argparse.Namespace) -> dict[str, Any]:
    results: list[list[float]] = []
    stop = time.perf_counter() + options.seconds
    clients = [
        threading.Thread(
            target=lambda seed=seed: results.append(serve_until(stop, model, call, options.requests, seed))
        )
        for seed in range(options.threads)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return throughput(results, options.seconds)


def with_processes(model: Any, call: Callable[[Any, int], Any], options: argparse.Namespace) -> dict[str, Any]:
    """Processes forked after the model has served: what a preloading web server does."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    stop = time.perf_counter() + options.seconds

    def client(seed: int) -> None:
        queue.put(serve_until(stop, model, call, options.requests, seed))

    clients = [context.Process(target=client, args=(seed,)) for seed in range(options.processes)]
    for one in clients:
        one.start()
    results = [queue.get(timeout=60) for _ in clients]
    for one in clients:
        one.join()
    return throughput(results, options.seconds)


def models_of(matrix: sp.csr_matrix, factors: int) -> dict[str, Any]:
    """fastals fitted as in ``serving_race``, and implicit with its factors."""
    from implicit.als import AlternatingLeastSquares
    from serving_race import model_of

    fitted = model_of(matrix, factors, 10, 2, "trained")
    other = AlternatingLeastSquares(factors, regularization=10.0, alpha=10.0, use_gpu=False, num_threads=2)
    other.user_factors, other.item_factors = np.array(fitted.user_factors), np.array(fitted.item_factors)
    return {"fastals": fitted, "implicit": other}


def race(matrix: sp.csr_matrix, factors: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    models, requests, rows = models_of(matrix, factors), Requests(matrix, options.requests), []
    for name, call in requests.calls().items():
        for model in models.values():
            call(model, 0)
        found = take_turns(models, call, options.requests)
        ratio = [round(a / b, 2) for a, b in zip(found["fastals"], found["implicit"], strict=True)]
        rows.append({"factors": factors, "request": name, **found, "ratio": ratio})
        print(rows[-1], flush=True)
    recommend = requests.calls()["recommend"]
    for name, run in (("threads", with_threads), ("processes", with_processes)):
        found = {who: run(model, recommend, options) for who, model in models.items()}
        rows.append({"factors": factors, "clients": f"{getattr(options, name)} {name}", **found})
        print(rows[-1], flush=True)
    return rows


def large_items() -> tuple[np.ndarray, np.ndarray]:
    """Factors of users and of a million items, trained on 20 million generated pairs."""
    from race_data import generate

    from fastals import ImplicitALS

    user, item = generate(200_000, 1_000_000, 100)
    matrix = sp.csr_matrix((np.ones(user.size, np.float32), (user, item)), shape=(200_000, 1_000_000))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    model = ImplicitALS(
        128, objective="rendle", alpha=1.0, unobserved_weight=0.02, regularization=0.003, regularization_exponent=1.0,
        iterations=2, random_state=0,
    ).fit(matrix)  # fmt: skip
    return model.user_factors[:20_000].copy(), model.item_factors


def large(requests: int = 200) -> list[dict[str, Any]]:
    """Lists of ten among a million items: exact, by the whole product, and by hnswlib where it is installed."""
    from fastals.export import augmented_item_factors, augmented_queries
    from fastals.serving.single_query import SketchIndex, top_of_one

    users, items = large_items()
    began = time.perf_counter()
    index = SketchIndex.build(items)
    built = time.perf_counter() - began
    queries = users[np.random.default_rng(0).permutation(len(users))[:requests]]
    seconds: dict[str, list[float]] = {"fastals": [], "product": []}
    exact, same = [], 0
    top_of_one(queries[0], index, 10)
    for query in queries:
        began = time.perf_counter()
        ids, scores = top_of_one(query, index, 10)
        seconds["fastals"].append(time.perf_counter() - began)
        began = time.perf_counter()
        product = items @ query
        best = np.argpartition(product, -10)[-10:]
        seconds["product"].append(time.perf_counter() - began)
        np.testing.assert_allclose(scores, np.sort(product[best])[::-1], rtol=1e-4, atol=1e-6)
        exact.append(set(ids.tolist()))
        same += len(exact[-1] & set(best.tolist()))
    rows: list[dict[str, Any]] = [{"build, s": round(built, 2), **{who: percentiles(s) for who, s in seconds.items()}}]
    rows[0]["recall"] = round(same / (10 * len(queries)), 4)
    rows[0]["times faster"] = round(rows[0]["product"][0] / rows[0]["fastals"][0], 1)
    print(rows[0], flush=True)
    try:
        import hnswlib
    except ModuleNotFoundError:
        return rows
    vectors, began = augmented_item_factors(items), time.perf_counter()
    graph = hnswlib.Index(space="l2", dim=vectors.shape[1])
    graph.init_index(max_elements=len(vectors), M=16, ef_construction=100)
    graph.add_items(vectors)
    built = time.perf_counter() - began
    graph.set_num_threads(1)
    augmented = augmented_queries(queries)
    for width in (50, 200, 800):
        graph.set_ef(width)
        times, found = [], 0
        for query, wanted in zip(augmented, exact, strict=True):
            began = time.perf_counter()
            ids, _ = graph.knn_query(query[None], k=10)
            times.append(time.perf_counter() - began)
            found += len(wanted & set(ids[0].tolist()))
        recall = round(found / (10 * len(queries)), 4)
        rows.append({"hnswlib, ef": width, "p50, p99": percentiles(times), "recall": recall, "build, s": round(built)})
        print(rows[-1], flush=True)
    return rows


def publish_requests(rows: list[dict[str, Any]], matrix: sp.csr_matrix, options: argparse.Namespace) -> None:
    kinds = [f"{who}, {which}" for who in ("fastals", "implicit") for which in ("median", "99 %")]
    columns = ["factors", "request", *kinds, "ratio of medians", "of 99 %"]
    table = [
        [row["factors"], row["request"], *(round(time) for who in ("fastals", "implicit") for time in row[who]),
         *(f"{ratio:.2f}" for ratio in row["ratio"])]
        for row in rows if "request" in row
    ]  # fmt: skip
    title = f"Single requests among {matrix.shape[1]:,} items of {options.dataset}, microseconds"
    publish(
        "serving-single", title, f"python asv_benchmarks/single_race.py --requests {options.requests}", columns, table
    )


def publish_large(rows: list[dict[str, Any]]) -> None:
    first, *graphs = rows
    table = [
        ["fastals", *map(round, first["fastals"]), f"{first['recall']:.4g}", f"{first['build, s']:.0f}"],
        ["product and argpartition", *map(round, first["product"]), "1", None],
    ]
    for row in graphs:
        name = f"hnswlib, M 16, ef {row['hnswlib, ef']}"
        table.append([name, *map(round, row["p50, p99"]), f"{row['recall']:.4g}", f"{row['build, s']:.0f}"])
    columns = ["search", "median", "99 %", "share of the exact lists", "build, s"]
    title = "Lists of ten among 1,000,000 generated items, 128 factors, microseconds"
    publish("serving-large", title, "python asv_benchmarks/single_race.py --large", columns, table)


def main() -> None:
    options = parse()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OPENBLAS_NUM_THREADS": "1"})
    sys.path.insert(0, str(HERE.parent))
    if options.large:
        rows = large()
        if options.publish:
            publish_large(rows)
    else:
        from race_data import load

        matrix = load(options.dataset, options.data)
        rows = [row for factors in options.factors for row in race(matrix, factors, options)]
        if options.publish:
            publish_requests(rows, matrix, options)
    if options.json:
        options.json.write_text(json.dumps({"data": options.dataset, "rows": rows}))


if __name__ == "__main__":
    main()
