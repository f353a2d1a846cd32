"""Held-out pairs, by time where there are times, and what is said of them to programs."""

import json

import numpy as np
import pytest
import scipy.sparse as sp

pytest.importorskip("typer")
pytest.importorskip("rich")

from command_line import cells, run

from fastals import ImplicitALS
from fastals.cli.judging import as_json, measured, split
from fastals.datasets import read_interactions
from fastals.datasets.synthetic import make_interactions
from fastals.evaluation import Popularity, ranking_metrics_at_k, temporal_split, train_test_split
from fastals.interactions import Interactions
from fastals.weighting import recency

QUICK = ["-k", "8", "-t", "4", "--seed", "1"]
HALF_LIFE = 90 * 86_400


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Interactions with dates, and a file of them."""
    pairs = make_interactions(80, 50, n_groups=3, mean_per_user=8, random_state=0).user_items.tocoo()
    days = np.random.default_rng(0).integers(0, 700, pairs.nnz)
    dates = np.datetime64("2022-01-01") + days
    made = Interactions.from_arrays(pairs.row, pairs.col, pairs.data, times=dates)
    path = tmp_path_factory.mktemp("plays") / "plays.csv"
    lines = (f"{u},{i},{v:g},{d}" for u, i, v, d in zip(pairs.row, pairs.col, pairs.data, dates, strict=True))
    path.write_text("user,item,plays,when\n" + "\n".join(lines) + "\n")
    return made, path


@pytest.mark.parametrize("timed", [False, True])
def test_what_is_printed_is_what_the_library_measures(table, timed):
    made, path = table
    if timed:
        train, test = temporal_split(made.user_items, made.times, test_size=0.3, random_state=1)
    else:
        train, test = train_test_split(made.user_items, test_size=0.3, random_state=1)
    model = ImplicitALS(8, iterations=4, random_state=1).fit(train)
    expected = {"fastals": ranking_metrics_at_k(model, train, test, 5)}
    expected["popularity"] = ranking_metrics_at_k(Popularity(train), train, test, 5)
    options = [path, *QUICK, "--at", 5, "--test-size", 0.3, *(["--time-column", "when"] if timed else [])]
    new = np.setdiff1d(test.nonzero()[0], train.nonzero()[0])
    if new.size > 0.05 * np.setdiff1d(test.nonzero()[0], new).size:
        known = test.toarray()
        known[new] = 0
        for name, one in (("fastals", model), ("popularity", Popularity(train))):
            expected[f"{name}, known users"] = ranking_metrics_at_k(one, train, sp.csr_array(known), 5)
    got = json.loads(run("evaluate", *options, "--json").stdout)
    assert got["test_users_without_training_pairs"] == new.size
    assert got["split"] == ("by time" if timed else "random")
    assert got["metrics"] == {name: dict(metrics) for name, metrics in expected.items()}
    assert got["standard_errors"] == {name: metrics.stderr for name, metrics in expected.items()}
    assert got["alpha"] == model.alpha_
    assert got["unobserved_exponent"] == list(model.unobserved_exponent_)
    assert got["loss"] == model.loss_history[-1]
    assert got["parameters"] == {**model.get_params()}
    assert (got["users"], got["items"], got["interactions"]) == (*made.user_items.shape, made.user_items.nnz)
    assert (got["test_interactions"], got["at"]) == (test.nnz, 5)
    shown = run("evaluate", *options).stdout
    rows = {line[0]: line[1:] for line in cells(shown)}
    assert rows["recall"] == [f"{metrics['recall']:.4f}" for metrics in expected.values()]
    assert f"alpha {model.alpha_:.4g}"[:9] in shown


def test_users_without_training_pairs_are_counted_and_left_out_of_columns_of_their_own(table, tmp_path):
    """Users who come later: nothing is known of them, so their lists say nothing of the model."""
    _, path = table
    late = tmp_path / "late.csv"
    late.write_text(path.read_text() + "".join(f"{u},{i},1,2024-06-01\n" for u in (900, 901) for i in (1, 2, 3)))
    got = json.loads(run("evaluate", late, *QUICK, "--time-column", "when", "--json").stdout)
    assert list(got["metrics"]) == ["fastals", "popularity", "fastals, known users", "popularity, known users"]
    read = read_interactions(late, time_column="when")
    train, test = temporal_split(read.user_items, read.times, test_size=0.2, random_state=1)
    new = np.setdiff1d(test.nonzero()[0], train.nonzero()[0])
    assert np.isin(read.user_index([900, 901]), new).all()
    test = test.toarray()
    test[new] = 0
    model = ImplicitALS(8, iterations=4, random_state=1).fit(train)
    expected = ranking_metrics_at_k(model, train, sp.csr_array(test), 10)
    assert got["metrics"]["fastals, known users"] == dict(expected)
    assert got["test_users_without_training_pairs"] == new.size
    assert got["test_users"] == expected.n_users + new.size
    assert f"{new.size} of them without training pairs" in " ".join(
        run("evaluate", late, *QUICK, "--time-column", "when").stdout.split()
    )


def test_half_life_weighs_the_training_part_alone(table):
    made, path = table
    train, test = temporal_split(made.user_items, made.times, test_size=0.2, random_state=1)
    known = train.toarray() != 0
    times = Interactions.from_arrays(*np.nonzero(known), made.times.toarray()[known]).user_items
    when = train.copy()
    when.data = made.times.toarray()[known]
    assert times.nnz == when.nnz
    weighed = recency(train, when, half_life=HALF_LIFE)
    expected = ranking_metrics_at_k(ImplicitALS(8, iterations=4, random_state=1).fit(weighed), train, test, 10)
    got = json.loads(run("evaluate", path, *QUICK, "--time-column", "when", "--half-life", "90d", "--json").stdout)
    assert got["metrics"]["fastals"] == dict(expected)


def test_what_is_no_number_is_null(ratings):
    made = Interactions(ratings)
    test = ratings.copy()
    test.data[1:] = 0  # one user, of whom there is no standard error
    test.eliminate_zeros()
    model = ImplicitALS(2, iterations=0, random_state=0).fit(ratings)
    got = json.loads(as_json(model, made, ratings, test, measured(model, ratings, test, 3)))
    assert got["loss"] is None
    assert got["standard_errors"]["fastals"]["recall"] is None


def test_a_part_of_the_latest_is_tested(table):
    made, _ = table
    _, test = split(made, 0.25, 0)
    tested = test.toarray() != 0
    times = made.times.toarray()
    assert times[tested].min() >= times[(made.user_items.toarray() != 0) & ~tested].max()
