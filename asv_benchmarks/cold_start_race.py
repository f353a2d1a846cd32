"""Items that nobody has yet: features in fastals and in irspack, against popularity, chance and no features.

    python asv_benchmarks/cold_start_race.py [--datasets ml-100k ...] [--trials 12] [--seeds 3] [--publish]

needs irspack in the environment (0.5.2 was measured). A fifth of the items is held out whole, and of the others'
pairs 15 %: test pairs of cold and of warm items. What is left is divided in the same way once more, for validation.
Both libraries first take ``--trials`` trials without features, as they search by themselves, for NDCG@20 of the warm
pairs. Then each of ``STRENGTHS`` of the features is fitted with each of ``SHARES`` of the regularization that was best
without, for that pulls towards what features predict. Taken is what has the best NDCG@20 of warm and cold items
together; "warm kept" is the best of those settings whose warm items alone lose at most 1 % of what they have without
features, or else lose least. It is fitted to all but the test pairs. Pairs count 1; items are numbered at random, as
ties go by number.

Nobody could have had a cold item, so that its missing pairs say nothing: "features alone" gives them no weight, which
leaves a cold item the factors that its features predict. Only so can it stand beside warm ones in a list. irspack has
no such weights; there these predictions are put in the place of the cold items' factors. "Side by side" are the model
without features, for items that have pairs, and one with features alone, for those that have none: one model, whose
users have the factors of both.

Features: genres of MovieLens, authors and words of titles of Goodbooks, words of descriptions of Online Retail, those
that two items have or more, each set with a constant beside.

``--large`` times a fit with the pieces of Goodbooks' titles and authors, more than 100,000 features, and without.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from published import publish

from fastals import ImplicitALS
from fastals.evaluation import (
    Popularity,
    cold_item_split,
    metrics_by_warmth,
    train_test_split,
)
from fastals.interactions import FeatureTable
from fastals.tuning import tune

K = 20
DATASETS = ("ml-100k", "goodbooks-to-read", "online-retail")
Setting = tuple[float, float]  # strength of the features, share of the regularization
Results = Iterator[tuple[str, list[float], str]]  # contender, figures, what else to print
STRENGTHS = (1.0, 10.0, 100.0, 1_000.0)  # of the features, of both libraries
SHARES = (1.0, 0.5, 0.25)  # of the regularization
KEPT = 0.99
COLUMNS = ("all", "cold among all", "cold among cold", "warm among warm")


class Problem(NamedTuple):
    """One split of a data set: parts (n_users, n_items) and the items' features (n_items, d)."""

    train: sp.csr_array
    warm: sp.csr_array
    cold: sp.csr_array
    test: sp.csr_array
    features: sp.csr_array

    @property
    def known(self) -> sp.csr_array:
        """All pairs but those of the test."""
        return sp.csr_array(self.train + self.warm + self.cold)


def main() -> None:
    options = parsed()
    if options.large:
        large(options)
        return
    rows = []
    libraries = [by_nothing, by_fastals, by_irspack][: 2 if options.fastals_alone else 3]
    for name in options.datasets:
        with np.load(options.data / f"{name}.npz") as file:
            arrays = {key: file[key] for key in file.files}
        features = features_of(name, arrays)
        print(f"\n{name}: {features.shape[1]:,} features of {features.shape[0]:,} items", flush=True)
        found: dict[str, list[list[float]]] = {}
        for seed in range(options.seeds):
            problem = divided(pairs_of(arrays), features, seed)
            for results in libraries:
                for contender, figures, note in results(problem, options, seed):
                    found.setdefault(contender, []).append(figures)
                    print(f"{seed:4} {contender:26}{''.join(f'{one:9.4f}' for one in figures)}  {note}", flush=True)
        for contender, values in found.items():
            mean = np.mean(values, axis=0)
            print(f"mean {contender:26}{''.join(f'{value:9.4f}' for value in mean)}", flush=True)
            rows.append([name, contender, *(f"{value:.4f}" for value in mean)])
    if options.publish:
        title = f"Recall@{K} with a fifth of the items new, {options.factors} factors, mean of {options.seeds} splits"
        command = f"python asv_benchmarks/cold_start_race.py --trials {options.trials} --seeds {options.seeds}"
        publish("cold-start", title, command, ["data", "by", *COLUMNS], rows)


def pairs_of(arrays: dict[str, np.ndarray]) -> sp.csr_array:
    """Who has what, as ones; goods that were returned do not count."""
    bought = arrays["value"] > 0 if "value" in arrays else np.ones(arrays["user"].size, bool)
    user, item = arrays["user"][bought], arrays["item"][bought]
    n_items = max(len(arrays[name]) for name in arrays if name.startswith("item_"))
    matrix = sp.coo_array((np.ones(user.size), (user, item)), shape=(user.max() + 1, n_items)).tocsr()
    matrix.data[:] = 1
    return matrix


def features_of(name: str, arrays: dict[str, np.ndarray]) -> sp.csr_array:
    """Features of the items of a data set, (n_items, d)."""
    if name == "ml-100k":
        table = sp.csr_array(arrays["item_genres"].astype(np.float64))
    elif name == "goodbooks-to-read":
        columns = {
            "author": [text.split(", ") for text in arrays["item_authors"]],
            "word": [words(text) for text in arrays["item_title"]],
        }
        table = FeatureTable.from_columns(columns, lists=["author", "word"]).matrix
    else:
        columns = {"word": [words(text) for text in arrays["item_description"]]}
        table = FeatureTable.from_columns(columns, lists=["word"]).matrix
    shared = np.bincount(table.indices, minlength=table.shape[1]) > 1
    return sp.csr_array(sp.hstack([table[:, shared], np.ones((table.shape[0], 1))]))


def words(text: str) -> list[str]:
    """The distinct words of a text, in lower case."""
    letters = "".join(letter if letter.isalnum() else " " for letter in text.lower())
    return sorted(set(letters.split()))


def divided(matrix: sp.csr_array, features: sp.csr_array, seed: int) -> Problem:
    """Test pairs of cold and warm items, and the same of the rest for validation; items in random order."""
    order = np.random.default_rng(seed).permutation(matrix.shape[1])

    def held_out(pairs: sp.csr_array, random_state: int) -> tuple[sp.csr_array, sp.csr_array, sp.csr_array]:
        rest, cold, _ = cold_item_split(pairs, test_items=0.2, random_state=random_state)
        kept, warm = train_test_split(rest, test_size=0.15, random_state=random_state)
        return kept, warm, cold

    known, warm, cold = held_out(sp.csr_array(matrix[:, order]), seed)
    return Problem(*held_out(known, 100 + seed), sp.csr_array(warm + cold), sp.csr_array(features[order]))


def judged(model: Any, problem: Problem) -> list[float]:
    metrics = metrics_by_warmth(model, problem.known, problem.test, K)
    parts = metrics.all, metrics.cold, metrics.cold_alone, metrics.warm_alone
    return [float("nan") if part is None else part["recall"] for part in parts]


def chosen(models: dict[Setting, Any], without: Any, problem: Problem) -> tuple[Setting, Setting]:
    """Strength and share of the best lists of the validation part, and of the best of those that keep warm ones.

    ``models`` and ``without`` are fitted to the training part.
    """
    unknown = sp.csr_array(problem.warm + problem.cold)

    def value(model: Any) -> tuple[float, float]:
        metrics = metrics_by_warmth(model, problem.train, unknown, K)
        assert metrics.warm_alone is not None
        return metrics.all["ndcg"], metrics.warm_alone["ndcg"]

    values = {setting: value(model) for setting, model in models.items()}
    least = min(KEPT * value(without)[1], max(warm for _, warm in values.values()))
    kept = [setting for setting, (_, warm) in values.items() if warm >= least]
    return max(values, key=values.__getitem__), max(kept, key=values.__getitem__)


def by_nothing(problem: Problem, options: argparse.Namespace, seed: int) -> Results:
    """Chance, as random factors have it, and popularity, which knows nothing of cold items."""
    random = np.random.default_rng(seed)
    users, items = (random.standard_normal((size, 16)) for size in problem.test.shape)
    yield "chance", judged(with_factors(users, items), problem), ""
    yield "popularity", judged(Popularity(problem.known), problem), ""


def by_fastals(problem: Problem, options: argparse.Namespace, seed: int) -> Results:
    first = tune(
        problem.train, problem.warm, n_trials=options.trials, factors=options.factors, K=K, random_state=seed
    ).best_params

    def without(pairs: sp.csr_array) -> ImplicitALS:
        return ImplicitALS(**first).fit(pairs)

    def fitted(pairs: sp.csr_array, strength: float, share: float, alone: bool = True) -> ImplicitALS:
        changes = {"feature_regularization": strength, "regularization": share * first["regularization"]}
        model = ImplicitALS(**{**first, **changes})
        if not alone:
            return model.fit(pairs, item_features=problem.features)
        counts, exponent = np.bincount(pairs.indices, minlength=pairs.shape[1]), np.ravel(first["unobserved_exponent"])
        weights = np.where(counts > 0, np.maximum(counts, 1.0) ** exponent[-1], 0.0)
        weights /= weights[counts > 0].mean()
        return model.fit(pairs, item_features=problem.features, unobserved_weights=(None, weights))

    yield from in_all_ways("fastals", fitted, without, problem)


def in_all_ways(library: str, fitted: Callable[..., Any], without: Callable[..., Any], problem: Problem) -> Results:
    """What a library's models reach: those ``without`` features, those ``fitted`` with them, both side by side."""
    plain, plain_of_all = without(problem.train), without(problem.known)
    yield f"{library} without features", judged(plain_of_all, problem), ""
    models = {setting: fitted(problem.train, *setting) for setting in product(STRENGTHS, SHARES)}
    best, kept = chosen(models, plain, problem)
    yield library, judged(fitted(problem.known, *best, alone=False), problem), said(best)
    yield f"{library}, features alone", judged(fitted(problem.known, *best), problem), said(best)
    yield f"{library}, warm kept", judged(fitted(problem.known, *kept), problem), said(kept)
    both = {setting: side_by_side(plain, model, problem.train) for setting, model in models.items()}
    best, _ = chosen(both, plain, problem)
    model = side_by_side(plain_of_all, fitted(problem.known, *best), problem.known)
    yield f"{library}, side by side", judged(model, problem), said(best)


def said(setting: Setting) -> str:
    strength, share = setting
    return f"strength {strength:g}, regularization x {share:g}"


def by_irspack(problem: Problem, options: argparse.Namespace, seed: int) -> Results:
    """Its own search over its own ranges, then over the strength of the features and the regularization."""
    from irspack import Evaluator, IALSRecommender

    logging.disable(logging.INFO)
    features = sp.csr_matrix(problem.features, dtype=np.float32)
    evaluator = Evaluator(sp.csr_matrix(problem.warm), cutoff=K, target_metric="ndcg")
    with contextlib.redirect_stdout(io.StringIO()):  # bars of progress
        first, _ = IALSRecommender.tune(
            sp.csr_matrix(problem.train), evaluator, n_trials=options.trials, tuning_random_seed=seed,
            n_components=options.factors,
        )  # fmt: skip
    first["n_components"] = options.factors

    def learnt(pairs: sp.csr_array, **arguments: Any) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return IALSRecommender(sp.csr_matrix(pairs), **{**first, **arguments}).learn()

    def without(pairs: sp.csr_array) -> ImplicitALS:
        model = learnt(pairs)
        return with_factors(model.get_user_embedding(), model.get_item_embedding())

    def fitted(pairs: sp.csr_array, strength: float, share: float, alone: bool = True) -> ImplicitALS:
        changes = {"lambda_item_feature": strength, "reg": share * first["reg"]}
        model = learnt(pairs, item_features=features, **changes)
        items = np.array(model.get_item_embedding())
        if alone:
            cold = np.bincount(pairs.indices, minlength=pairs.shape[1]) == 0
            items[cold] = features[cold] @ model.trainer_as_ials.core_trainer.item_feature_weight
        return with_factors(model.get_user_embedding(), items)

    yield from in_all_ways("irspack", fitted, without, problem)


def side_by_side(known: Any, new: Any, pairs: sp.csr_array) -> ImplicitALS:
    """The model that scores items with pairs as ``known`` does, and those without as ``new`` does."""
    cold = np.bincount(pairs.indices, minlength=pairs.shape[1])[:, None] == 0
    items = np.hstack([np.where(cold, 0, known.item_factors), np.where(cold, new.item_factors, 0)])
    return with_factors(np.hstack([known.user_factors, new.user_factors]), items)


def with_factors(users: np.ndarray, items: np.ndarray) -> ImplicitALS:
    """A model that ranks by any factors."""
    model = ImplicitALS(users.shape[1])
    model.user_factors, model.item_factors = users, items
    return model


def large(options: argparse.Namespace) -> None:
    """Fits with more than 100,000 features, and without."""
    with np.load(options.data / "goodbooks-to-read.npz") as file:
        arrays = {key: file[key] for key in file.files}
    matrix = pairs_of(arrays)
    names = arrays["item_title"], arrays["item_authors"]
    texts = [f" {title} {authors} ".lower() for title, authors in zip(*names, strict=True)]
    pieces = [sorted({text[at : at + n] for n in (3, 4, 5) for at in range(len(text) - n + 1)}) for text in texts]
    features = FeatureTable.from_columns({"piece": pieces}, lists=["piece"]).matrix
    print(f"{matrix.nnz:,} pairs, {features.shape[1]:,} features, {features.nnz:,} entries of theirs")
    seconds: dict[str, list[float]] = {"without": [], "with features": []}
    for repeat in range(3):
        for label, arguments in (("without", {}), ("with features", {"item_features": features})):
            start = time.perf_counter()
            ImplicitALS(options.factors, random_state=repeat).fit(matrix, **arguments)
            seconds[label].append(time.perf_counter() - start)
    for label, times in seconds.items():
        print(f"{label:14} {np.mean(times[1:]):.2f} s, mean of two fits")  # the first compiles


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=DATASETS, metavar="NAME")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3, help="number of splits and searches, counted from 0")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--fastals-alone", action="store_true", help="without irspack, which need not be there")
    parser.add_argument("--large", action="store_true", help="time more than 100,000 features")
    parser.add_argument("--publish", action="store_true", help="write the table that the site shows")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    return parser.parse_args()


if __name__ == "__main__":
    main()
