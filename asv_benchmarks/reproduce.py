"""One row of the table of published results, from one command.

    python asv_benchmarks/reproduce.py gowalla|yelp2018|ml-1m [--seeds 3] [--factors 64] [--validate]

fits on the training part, evaluates by the protocol of the published rows, and prints mean and spread over seeds beside
them. The hyper-parameters in reproduce_rows.py were chosen on validation data alone, by what ``--validate`` prints: the
held-out pairs of LightGCN++ for gowalla and yelp2018, one random training pair of each user (which, says ``--split``)
with 99 items the user does not have in training for ml-1m. The data are ``gowalla.npz``, ``yelp2018.npz`` and
``ml-1m-ncf.npz`` in ``--data``.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from published import publish
from reproduce_rows import PLAIN, PUBLISHED, SETTINGS, TITLES, HardNegatives

from fastals import ImplicitALS
from fastals.evaluation import leave_k_out_split, ranking_metrics_at_k, sampled_metrics_at_k

# Share of the earlier weights in those of hard negatives.
MEMORY = 0.6


@dataclass
class Protocol:
    """Training matrix, and what a fitted model is judged by."""

    train: sp.csr_array
    names: tuple[str, str]
    judge: Any


class Row(NamedTuple):
    """Settings of a model, or of several side by side, and the two metrics (seeds, 2) and seconds of their fits."""

    members: list[dict[str, Any]]
    values: np.ndarray
    seconds: list[float]


def main() -> None:
    options = parsed()
    path = options.data / f"{'ml-1m-ncf' if options.name == 'ml-1m' else options.name}.npz"
    if not path.is_file():
        sys.exit(f"skipped: there is no {path}; --data names the folder that has it")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    protocol = leave_one_out(arrays, options) if options.name == "ml-1m" else full_ranking(arrays, options.validate)
    print(f"{options.name}, {'validation' if options.validate else 'test'}: {protocol.train.nnz:,} training pairs")
    rows = [fitted(members, protocol, options) for members in given(options)]
    report(options, protocol.names, rows)


def fitted(members: list[dict[str, Any]], protocol: Protocol, options: argparse.Namespace) -> Row:
    """What models with these settings, side by side if there are several, reach for each seed."""
    for settings in members:
        print(", ".join(f"{name} {value}" for name, value in settings.items()))
    values, seconds = [], []
    for seed in range(options.seeds):
        if not seed:
            trained(members[-1], protocol.train[:2000], seed)  # compiles before the clock starts
        start = time.perf_counter()
        models = [trained(settings, protocol.train, seed + 100 * place) for place, settings in enumerate(members)]
        seconds.append(time.perf_counter() - start)
        model = models[0] if len(models) == 1 else side_by_side(models, protocol.train)
        values.append(protocol.judge(model))
        print(f"seed {seed}: {values[-1][0]:.5f} {values[-1][1]:.5f}, trained in {seconds[-1]:.1f} s", flush=True)
    return Row(members, np.array(values), seconds)


def trained(settings: dict[str, Any], train: sp.csr_array, seed: int) -> ImplicitALS:
    """A model with these settings."""
    own = dict(settings)
    negatives = own.pop("hard_negatives")
    pairs = weighted(train, own.pop("popularity_exponent"), own.pop("activity_exponent"))
    model = ImplicitALS(**own, random_state=seed).fit(pairs)
    if negatives is not None:
        sweep_against_hard_negatives(model, pairs, train, *negatives)
    return model


def sweep_against_hard_negatives(
    model: ImplicitALS, pairs: sp.csr_array, train: sp.csr_array, rounds: int, of_users: HardNegatives,
    of_items: HardNegatives,
) -> None:  # fmt: skip
    """Go on from a fitted model, sweep by sweep, against what it wrongly puts first.

    Before each sweep the missing items that a user's scores put first become pairs of preference 0, dislikes, and so do
    the missing users that an item's scores put first. They weigh MEMORY of what they weighed before and 1 - MEMORY of
    the weight that is given; without a memory scores swing from one sweep to the next. A softmax loss, too, has missing
    pairs weigh by their scores; here each sweep is exact.
    """
    against, users_of_item = None, sp.csr_array(train.T)
    model.set_params(iterations=1)
    for _ in range(rounds):
        turned = of_factors(users_of_item, model.item_factors, model.user_factors)
        first = sp.csr_array(first_missing(model, train, of_users) + first_missing(turned, users_of_item, of_items).T)
        against = first if against is None else MEMORY * against + (1 - MEMORY) * first
        model.fit(sp.csr_array(pairs - against), user_factors=model.user_factors, item_factors=model.item_factors)


def first_missing(model: ImplicitALS, known: sp.csr_array, negatives: HardNegatives) -> sp.csr_array:
    """The weight of hard negatives at the missing pairs that each row's scores put first."""
    ids, _ = model.recommend(np.arange(known.shape[0]), known, N=negatives.number)
    rows, places = np.nonzero(ids >= 0)  # lists are filled up with -1
    weights = np.full(rows.size, negatives.weight, np.float32)
    return sp.csr_array((weights, (rows, ids[rows, places])), shape=known.shape)


def of_factors(train: sp.csr_array, user_factors: np.ndarray, item_factors: np.ndarray) -> ImplicitALS:
    """A model that has these factors."""
    model = ImplicitALS(user_factors.shape[1], objective="rendle", alpha=1.0, iterations=0)
    return model.fit(train, user_factors=user_factors, item_factors=item_factors)


def side_by_side(models: list[ImplicitALS], train: sp.csr_array) -> ImplicitALS:
    """The model whose scores are the sum of these models' scores."""
    return of_factors(
        train, np.hstack([model.user_factors for model in models]), np.hstack([model.item_factors for model in models])
    )


def full_ranking(arrays: dict[str, np.ndarray], validate: bool) -> Protocol:
    """Recall@20 and NDCG@20 over all items that a user does not have in training (NGCF, LightGCN)."""
    user, item, test_user, test_item = (arrays[f"{part}_{of}"] for part in ("train", "test") for of in ("user", "item"))
    shape = (max(user.max(), test_user.max()) + 1, max(item.max(), test_item.max()) + 1)
    if validate:
        held_out = np.zeros(user.size, bool)
        held_out[arrays["valid_index"]] = True
        test_user, test_item, user, item = user[held_out], item[held_out], user[~held_out], item[~held_out]
    train, test = binary(user, item, shape), binary(test_user, test_item, shape)

    def judge(model: ImplicitALS) -> tuple[float, float]:
        metrics = ranking_metrics_at_k(model, train, test, K=20)
        return metrics["recall"], metrics["ndcg"]

    return Protocol(train, ("Recall@20", "NDCG@20"), judge)


def leave_one_out(arrays: dict[str, np.ndarray], options: argparse.Namespace) -> Protocol:
    """HR@10 and NDCG@10 of one held-out item among 99 negatives (NCF).

    156 of the published lists of negatives have the test item itself in them; as in the published evaluator, which
    keeps the candidates in a dict, such a negative counts as absent.
    """
    users, items, negatives = arrays["test_user"], arrays["test_item"], arrays["test_negatives"]
    n_items = max(arrays["train_item"].max(), items.max(), negatives.max()) + 1
    train = binary(arrays["train_user"], arrays["train_item"], (users.max() + 1, n_items))
    if options.validate:
        owned = train.toarray() > 0
        train, held_out = leave_k_out_split(train, 1, random_state=options.split)
        users, items = np.flatnonzero(np.diff(held_out.indptr)), held_out.indices
        random = np.random.default_rng(options.split)
        negatives = np.stack([random.choice(np.flatnonzero(~owned[u]), 99, replace=False) for u in users])

    def judge(model: ImplicitALS) -> tuple[float, float]:
        metrics = sampled_metrics_at_k(model, users, items, negatives, K=10)
        return metrics["hit_rate"], metrics["ndcg"]

    return Protocol(train, ("HR@10", "NDCG@10"), judge)


def binary(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> sp.csr_array:
    return sp.csr_array((np.ones(user.size, np.float32), (user, item)), shape=shape)


def weighted(train: sp.csr_array, popularity: float, activity: float) -> sp.csr_array:
    """Pairs of an item of n users and a user of m items weigh n^-popularity m^-activity, over the mean of all pairs."""
    users_of_item, items_of_user = np.bincount(train.indices, minlength=train.shape[1]), np.diff(train.indptr)
    weights = np.power(users_of_item[train.indices], -popularity, dtype=np.float64)
    weights *= np.repeat(np.power(np.maximum(items_of_user, 1), -activity, dtype=np.float64), items_of_user)
    return sp.csr_array(((weights / weights.mean()).astype(np.float32), train.indices, train.indptr), shape=train.shape)


def given(options: argparse.Namespace) -> list[list[dict[str, Any]]]:
    """Settings of the table, all of a data set, or those of ``--factors``, and what the command line says otherwise."""
    rows = [row if isinstance(row, list) else [row] for row in SETTINGS[options.name]]
    if options.factors is not None:
        rows = [row for row in rows if sum(one["factors"] for one in row) == options.factors] or rows[:1]
    changes = {name: value for name in (*PLAIN, *rows[0][0]) if (value := getattr(options, name, None)) is not None}
    if len(rows[0]) > 1:
        changes.pop("factors", None)
    if "unobserved_exponent" in changes:
        changes["unobserved_exponent"] = tuple(changes["unobserved_exponent"])
    return [[{"objective": "rendle", "alpha": 1.0, **PLAIN, **one, **changes} for one in row] for row in rows]


def report(options: argparse.Namespace, names: tuple[str, str], rows: list[Row]) -> None:
    """Mean and sample deviation over seeds, and the published rows if they are of the same split."""
    print(f"\n{'':<32}{names[0]:>18}{names[1]:>18}  training")
    table = []
    for row in rows:
        spread = row.values.std(axis=0, ddof=1) if len(row.values) > 1 else np.full(2, np.nan)  # one seed has no spread
        pairs = list(zip(row.values.mean(axis=0), spread, strict=True))
        ours = "".join(f"{mean:>10.4f} +-{deviation:.4f}" for mean, deviation in pairs)
        mean_seconds = np.mean(row.seconds)
        label = "fastals, " + " + ".join(str(one["factors"]) for one in row.members) + " factors"
        seconds = f"{mean_seconds:.{int(mean_seconds < 10)}f} s"
        print(f"{label:<32}{ours}  {seconds}")
        figures = [f"{mean:.4f} ± {deviation:.4f}".replace("0.", ".") for mean, deviation in pairs]
        said = weights_of(row.members[0]) if len(row.members) == 1 else ", models side by side"
        table.append([label + said, *figures, seconds])
    for model, first, second, source in [] if options.validate else PUBLISHED[options.name]:
        print(f"{model:<32}{first:>10.4f}{'':8}{second:>10.4f}{'':8}  {source}")
    if options.publish:
        table += [
            [f"{model} ({source})", f"{first:.4f}".lstrip("0"), f"{second:.4f}".lstrip("0"), ""]
            for model, first, second, source in PUBLISHED[options.name]
        ]
        command = f"python asv_benchmarks/reproduce.py {options.name}"
        publish(f"quality-{options.name}", TITLES[options.name], command, ["model", *names, "training"], table)


def weights_of(settings: dict[str, Any]) -> str:
    """How pairs and missing pairs are weighted, in words."""
    pairs = {"popularity": -settings["popularity_exponent"], "activity": -settings["activity_exponent"]}
    missing = dict(zip(("activity", "popularity"), settings["unobserved_exponent"], strict=True))
    said = ""
    for kind, exponents in (("pairs", pairs), ("missing pairs", missing)):
        powers = [f"{name}^{exponent:g}" for name, exponent in exponents.items() if exponent]
        said += f", {kind} weighted by {' '.join(powers)}" if powers else ""
    return said + (", hard negatives" if settings["hard_negatives"] else "")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, counted from 0")
    parser.add_argument("--validate", action="store_true", help="judge on the validation split, as for choosing")
    parser.add_argument("--split", type=int, default=0, help="seed of the validation split of ml-1m")
    parser.add_argument("--publish", action="store_true", help="write the table that the site shows")
    parser.add_argument("--factors", type=int, help="of the settings with as many, else of the first")
    parser.add_argument("--unobserved-weight", type=float)
    parser.add_argument("--regularization", type=float)
    parser.add_argument("--regularization-exponent", type=float)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--popularity-exponent", type=float, help="of items; 0: all pairs weigh the same")
    parser.add_argument("--activity-exponent", type=float, help="the same of users")
    parser.add_argument(
        "--unobserved-exponent", type=float, nargs=2, help="of users and items; 0: all missing pairs weigh the same"
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    return parser.parse_args()


if __name__ == "__main__":
    main()
