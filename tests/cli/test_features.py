"""``fastals fit`` with tables of features: what is taken for what, who is added, and what the model keeps."""

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
pytest.importorskip("duckdb")

from command_line import cells, fails, run

from fastals import ImplicitALS
from fastals.interactions import FeatureTable

QUICK = ["-k", "4", "-t", "4", "--seed", "1"]


@pytest.fixture
def files(tmp_path):
    """Users of two groups who play items of their own; items x0 and x1, of one group each, and u99 are new."""
    pairs = [(u, i) for u in range(40) for i in range(20) if u % 2 == i % 2 and (u + 3 * i) % 4 != 3]
    (tmp_path / "plays.csv").write_text("user,item\n" + "".join(f"u{u},i{i}\n" for u, i in pairs))
    kinds = ["even", "odd"]
    items = [f"i{i},{kinds[i % 2]},{10 + i},a|{kinds[i % 2]},Song {i}\n" for i in range(1, 20)]
    new = ["x0,even,12,even,Song 0\n", "x1,odd,12,odd,Song 1\n"]
    (tmp_path / "items.csv").write_text("sku,kind,price,tags,title\n" + "".join(items + new))
    users = [f"{kinds[u % 2]},u{u}\n" for u in range(40)]
    (tmp_path / "users.csv").write_text("group,name\n" + "".join([*users, "odd,u99\n"]))
    return tmp_path


def test_new_items_and_users_are_recommended_by_their_features(files):
    output = files / "m.fastals"
    options = ["--item-features", files / "items.csv", "--user-features", files / "users.csv"]
    options += ["--user-features-id", "name", "--feature-regularization", 0.5]
    shown = run("fit", files / "plays.csv", "-o", output, *options, *QUICK).stdout
    rows = {tuple(row) for row in cells(shown)}

    assert "Item features (items.csv)" in shown
    assert {
        ("items", "21 with features, 1 without"),
        ("new", "2 without any interaction are added to the data"),
        ("numbers", "price"),
        ("categories", "kind (2)"),
        ("lists", "tags (3)"),
        ("text", "title (256 for its words)"),
        ("features", "262"),
        ("users", "41 with features, 0 without"),
        ("new", "1 without any interaction are added to the data"),
        ("categories", "group (2)"),
    } <= rows

    model = ImplicitALS.load(output)
    assert model.feature_regularization == 0.5
    users, items = model.feature_names_
    assert users == ("group=even", "group=odd")
    assert items[:6] == ("price", "kind=even", "kind=odd", "tags=a", "tags=even", "tags=odd")
    known = model.interactions
    assert known.item_ids[-2:].tolist() == ["x0", "x1"]
    table = FeatureTable.from_file(files / "items.csv", ids=known.item_ids)
    assert table.names == items
    for user, better, worse in ((4, "x0", "x1"), (5, "x1", "x0")):
        row = known.user_index(f"u{user}")
        assert model.predict(row, known.item_index(better)) > model.predict(row, known.item_index(worse))
    newcomer = known.user_index("u99")
    assert model.predict(newcomer, known.item_index("i5")) > model.predict(newcomer, known.item_index("i6"))
    assert "u99" in run("recommend", output, "--user", "u99", "-n", 3).stdout
    facts = cells(run("info", output).stdout)
    assert ["item features", "262, such as price"] in facts
    assert ["user features", "2, such as group=even"] in facts


def test_a_store_does_not_grow(files):
    run("store", "build", files / "store", files / "plays.csv")
    shown = run("fit", files / "store", "-o", files / "m", "--item-features", files / "items.csv", *QUICK).stdout
    assert ["left out", "2 that are not in the store"] in cells(shown)
    model = ImplicitALS.load(files / "m")
    assert model.item_factors.shape[0] == 20
    assert model.feature_names_[1][0] == "price"


def test_a_checkpoint_takes_features(files):
    options = ["--item-features", files / "items.csv", *QUICK]
    run("fit", files / "plays.csv", "-o", files / "plain", *options)
    run("fit", files / "plays.csv", "-o", files / "kept", "--checkpoint", files / "c", *options)
    plain, kept = (ImplicitALS.load(files / name) for name in ("plain", "kept"))
    np.testing.assert_array_equal(kept.item_factors, plain.item_factors)


def test_what_makes_no_sense_is_refused_before_the_data_are_read(files):
    nowhere = files / "no.csv"
    assert "there is no such file" in fails("fit", nowhere, "--item-features", nowhere)
    assert "--user-features-id needs --user-features" in fails("fit", nowhere, "--user-features-id", "name")
    items = files / "items.csv"
    told = fails("fit", files / "plays.csv", "--item-features", items, "-o", items)
    assert "this is the file that is read" in told
    told = fails("fit", files / "plays.csv", "--item-features", items, "--item-features-id", "id", *QUICK)
    assert "no column 'id'; the table has 'sku', 'kind'" in told
    told = fails("fit", files / "plays.csv", "--item-features", files / "users.csv", *QUICK)
    assert "users.csv: column 'group'" in told
