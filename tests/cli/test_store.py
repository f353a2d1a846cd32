"""``fastals store``, and the commands that take a store."""

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("duckdb")

from command_line import fails, run

from fastals import ImplicitALS, InteractionStore
from fastals.datasets.synthetic import make_interactions

QUICK = ["--factors", "8", "--iterations", "3", "--seed", "1"]


def write(path, coo, chosen):
    rows = zip(coo.row[chosen], coo.col[chosen], coo.data[chosen], strict=True)
    path.write_text("user;item;plays;day\n" + "".join(f"u{u};i{i};{v:g};{u + i}\n" for u, i, v in rows))


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    folder = tmp_path_factory.mktemp("days")
    coo = make_interactions(60, 40, n_groups=3, mean_per_user=8, random_state=0).user_items.tocoo()
    for day in range(3):
        write(folder / f"day{day}.csv", coo, np.arange(coo.nnz) % 3 == day)
    write(folder / "all.csv", coo, np.arange(coo.nnz))
    return folder


@pytest.fixture
def store(days, tmp_path):
    run("store", "build", tmp_path / "store", days / "day?.csv")
    return tmp_path / "store"


def test_build_from_a_pattern_shows_what_it_holds(days, tmp_path):
    output = run("store", "build", tmp_path / "store", days / "day?.csv", "--time-column", "day").stdout
    expected = InteractionStore.build(days / "all.csv", tmp_path / "expected", time="day")
    got = InteractionStore.open(tmp_path / "store", verify=True)
    assert f"{expected.nnz:,} (" in output
    assert (got.to_matrix() != expected.to_matrix()).nnz == 0
    np.testing.assert_array_equal(got.times, expected.times)


def test_columns_and_rules_are_passed_on(days, tmp_path):
    options = ["--user-column", "item", "--item-column", "user", "--value-column", 3, "--duplicates", "max"]
    run("store", "build", tmp_path / "store", days / "day0.csv", days / "day1.csv", "--separator", ";", *options)
    got = InteractionStore.open(tmp_path / "store")
    assert got.user_ids[0].startswith("i")
    assert got.duplicates == "max"


def test_append_beside_and_compact(days, store, tmp_path):
    run("store", "build", tmp_path / "grown", days / "day0.csv")
    run("store", "append", tmp_path / "grown", days / "day1.csv")
    output = run("store", "append", tmp_path / "grown", days / "day2.csv", "--beside").stdout
    assert "1 to be merged by 'fastals store compact'" in output
    assert "in 2 parts" in run("store", "info", tmp_path / "grown").stdout
    run("store", "compact", tmp_path / "grown")
    got, expected = InteractionStore.open(tmp_path / "grown"), InteractionStore.open(store)
    users, items = got.user_index(expected.user_ids), got.item_index(expected.item_ids)
    assert (got.to_matrix()[users][:, items] != expected.to_matrix()).nnz == 0


def test_info_verifies(store):
    assert "interactions" in run("store", "info", store, "--verify").stdout
    path = next(store.glob("*/by_item/values.npy"))
    path.write_bytes(path.read_bytes()[:-1] + b"\7")
    assert run("store", "info", store).stdout
    assert "by_item/values.npy: this file of a store is damaged" in fails("store", "info", store, "--verify")


def test_fit_recommend_and_evaluate_take_a_store(days, store, tmp_path):
    models = tmp_path / "a.fastals", tmp_path / "b.fastals"
    for path, source in zip(models, (store, days / "all.csv"), strict=True):
        assert "60" in run("fit", source, "--output", path, *QUICK).stdout
    got, expected = (ImplicitALS.load(path) for path in models)
    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    np.testing.assert_array_equal(got.interactions.item_ids, expected.interactions.item_ids)
    lists = [run("recommend", path, "--user", "u3").stdout for path in models]
    assert lists[0] == lists[1]
    run("recommend", models[0], "--all", "--output", tmp_path / "all.csv")
    metrics = [run("evaluate", source, *QUICK).stdout for source in (store, days / "all.csv")]
    assert metrics[0].split("Held-out")[1] == metrics[1].split("Held-out")[1]


def test_times_of_a_store_serve(days, tmp_path):
    run("store", "build", tmp_path / "store", days / "all.csv", "--time-column", "day")
    outputs = [
        run("evaluate", source, *QUICK, "--half-life", 50, "--json", *more).stdout
        for source, more in ((tmp_path / "store", ()), (days / "all.csv", ("--time-column", "day")))
    ]
    assert "by time" in outputs[0]
    assert outputs[0] == outputs[1]


def test_mistakes_are_told_in_one_line(days, store, tmp_path):
    assert "exists already" in fails("store", "build", store, days / "all.csv")
    assert "no file" in fails("store", "build", tmp_path / "new", days / "none*.csv")
    assert "memory_limit" in fails("store", "build", tmp_path / "new", days / "all.csv", "--memory-limit", "lots")
    assert "there is no interaction store" in fails("store", "info", tmp_path / "nothing")
    assert "--half-life needs --time-column" in fails("fit", store, "--half-life", "90d")
