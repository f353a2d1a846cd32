import csv
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from command_line import cells, fails, run
from typer.testing import CliRunner

from fastals import ImplicitALS, __version__
from fastals.cli import show
from fastals.cli.app import app
from fastals.datasets.synthetic import make_interactions

QUICK = ["--factors", "8", "--iterations", "4", "--seed", "1"]


@pytest.fixture(scope="module")
def data():
    return make_interactions(60, 40, n_groups=3, mean_per_user=8, random_state=0)


@pytest.fixture(scope="module")
def file(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "plays.csv"
    coo = data.user_items.tocoo()
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("listener", "artist", "plays"))
        writer.writerows((f"u{u}", f"[red]a{i}", int(v)) for u, i, v in zip(coo.row, coo.col, coo.data, strict=True))
    return path


@pytest.fixture(scope="module")
def fitted(file, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.fastals"
    return run("fit", file, "--output", path, *QUICK).stdout, path


def test_fit_shows_data_loss_and_file(fitted, data):
    output, path = fitted
    assert f"{data.user_items.nnz:,} (" in output
    assert "user column 'listener', item column 'artist', values 'plays'" in output
    model = ImplicitALS.load(path)
    losses = [show.number(loss) for loss in model.loss_history]
    assert len(losses) == 4
    assert all(loss in output for loss in losses)
    assert str(path) in output.replace("\n", "")


def test_fit_equals_the_library(fitted, file):
    got = ImplicitALS.load(fitted[1])
    interactions = got.interactions
    expected = ImplicitALS(factors=8, iterations=4, random_state=1).fit(interactions.user_items)
    np.testing.assert_array_equal(got.user_factors, expected.user_factors)
    np.testing.assert_array_equal(got.item_factors, expected.item_factors)


def test_alpha_and_regularization_that_were_chosen_are_shown(file, fitted):
    chosen = f"alpha {show.number(ImplicitALS.load(fitted[1]).alpha_, 4)} (chosen from the density and the mean value"
    assert chosen in fitted[0]
    users, items = (show.number(one, 4) for one in ImplicitALS.load(fitted[1]).regularization_)
    assert f"regularization {users} of users, {items} of items (chosen from the shape" in fitted[0]
    exponent = f"exponent of missing pairs {ImplicitALS.load(fitted[1]).unobserved_exponent_[1]:g} (chosen from how"
    assert exponent in fitted[0]
    assert "(chosen from" in run("evaluate", file, *QUICK).stdout
    assert "(chosen from" in run("demo", "--data", file, *QUICK).stdout
    assert "(chosen from" not in run("evaluate", file, "--alpha", 2, "--regularization", 0.1, *QUICK).stdout


def test_fit_reads_columns_by_number_and_separator(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("x\t1\t5\nx\t2\t6\ny\t1\t7\n")
    model = tmp_path / "m.fastals"
    run("fit", path, "-o", model, "--user-column", 3, "--item-column", 1, "--separator", "tab", "--no-header", *QUICK)
    made = ImplicitALS.load(model).interactions
    assert made.user_ids.tolist() == [5, 6, 7]
    assert made.item_ids.tolist() == ["x", "y"]


def test_recommend_prints_what_the_model_recommends(fitted):
    model = ImplicitALS.load(fitted[1])
    row = model.interactions.user_index("u3")
    ids, scores = model.recommend(row, N=4)
    output = run("recommend", fitted[1], "--user", "u3", "-n", 4).stdout
    expected = [
        [str(rank), model.interactions.item_ids[one].item(), f"{score:.4f}"]
        for rank, (one, score) in enumerate(zip(ids, scores, strict=True), start=1)
    ]
    assert cells(output) == expected
    known = model.interactions.user_items[[row]].indices
    assert not set(ids) & set(known)


def test_recommend_may_show_what_is_seen(fitted):
    model = ImplicitALS.load(fitted[1])
    row = model.interactions.user_index("u3")
    ids, _ = model.recommend(row, N=5, filter_already_liked_items=False)
    output = run("recommend", fitted[1], "--user", "u3", "-n", 5, "--seen").stdout
    assert [line[1] for line in cells(output)] == model.interactions.item_ids[ids].tolist()


def test_recommend_all_writes_csv(fitted, tmp_path):
    path = tmp_path / "out.csv"
    output = run("recommend", fitted[1], "--all", "--output", path, "-n", 3).stdout
    model = ImplicitALS.load(fitted[1])
    ids, scores = model.recommend(np.arange(60), N=3)
    with open(path, newline="", encoding="utf-8") as stream:
        got = list(csv.DictReader(stream))
    assert len(got) == 180
    assert "180" in output
    assert [line["user"] for line in got] == np.repeat(model.interactions.user_ids, 3).tolist()
    assert [line["item"] for line in got] == model.interactions.item_ids[ids.ravel()].tolist()
    assert [line["rank"] for line in got] == ["1", "2", "3"] * 60
    np.testing.assert_array_equal(np.array([line["score"] for line in got], np.float32), scores.ravel())
    assert max(len(line["score"]) for line in got) < 14
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]


def test_recommend_all_writes_parquet(fitted, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("fastals.cli.batch._USERS_AT_A_TIME", 7)
    run("recommend", fitted[1], "--all", "-o", tmp_path / "out.parquet", "-n", 3)
    run("recommend", fitted[1], "--all", "-o", tmp_path / "out.csv", "-n", 3)
    got = parquet.read_table(tmp_path / "out.parquet")
    assert got.column_names == ["user", "rank", "item", "score"]
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as stream:
        expected = list(csv.DictReader(stream))
    assert got["item"].to_pylist() == [line["item"] for line in expected]
    assert got["user"].to_pylist() == [line["user"] for line in expected]


def test_failed_batch_leaves_the_earlier_file(fitted, tmp_path, monkeypatch):
    path = tmp_path / "out.csv"
    path.write_text("earlier")

    def broken(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fastals.cli.batch._write_csv", broken)
    assert fails("recommend", fitted[1], "--all", "-o", path) == f"error: {path}: No space left on device"
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_similar_items_and_users(fitted):
    model = ImplicitALS.load(fitted[1])
    item = model.interactions.item_index("[red]a5")
    ids, cosines = model.similar_items(item, N=4)
    output = run("similar", fitted[1], "--item", "[red]a5", "-n", 3).stdout
    expected = [(model.interactions.item_ids[one].item(), f"{c:.4f}") for one, c in zip(ids, cosines, strict=True)]
    assert [(line[1], line[2]) for line in cells(output)] == [pair for pair in expected if pair[0] != "[red]a5"]
    output = run("similar", fitted[1], "--user", "u5", "-n", 3).stdout
    assert len(cells(output)) == 3
    assert "u5" not in [line[1] for line in cells(output)]


def test_explain_names_the_users_own_items(fitted):
    model = ImplicitALS.load(fitted[1])
    row = model.interactions.user_index("u3")
    ids, _ = model.recommend(row, N=1)
    output = run("explain", fitted[1], "--user", "u3", "--item", model.interactions.item_ids[ids[0]]).stdout
    own = model.interactions.item_ids[model.interactions.user_items[[row]].indices].tolist()
    got = [line[1] for line in cells(output)]
    assert got
    assert set(got) <= set(own)
    total, contributions, _ = model.explain(row, model.interactions.user_items, ids[0], N=10)
    assert f"score {total:.4f}" in output
    assert [line[2] for line in cells(output)] == [f"{score:.4f}" for _, score in contributions]


def test_model_without_ids_takes_positions(tmp_path, data):
    path = tmp_path / "m.fastals"
    ImplicitALS(factors=4, iterations=2, random_state=0).fit(data.user_items).save(path)
    output = run("recommend", path, "--user", 3, "-n", 2).stdout
    ids, _ = ImplicitALS.load(path).recommend(3, N=2)
    assert [line[1] for line in cells(output)] == [str(one) for one in ids]


def test_evaluate_beats_popularity_on_planted_groups(tmp_path):
    made = make_interactions(600, 200, n_groups=5, mean_per_user=15, random_state=0)
    path = tmp_path / "a.npz"
    coo = made.user_items.tocoo()
    np.savez(path, user=coo.row, item=coo.col, value=coo.data)
    output = run("evaluate", path, "--at", 5, *QUICK).stdout
    table = {line[0]: line[1:] for line in cells(output) if len(line) == 3 and line[0].isalpha()}
    assert float(table["recall"][0]) > 1.3 * float(table["recall"][1])


def test_demo_finds_the_planted_groups(monkeypatch):
    small = make_interactions(800, 300, n_groups=6, mean_per_user=20, random_state=0)
    monkeypatch.setattr("fastals.cli.demo.make_interactions", lambda *arguments, **options: small)
    output = run("demo", "--factors", 16).stdout
    shares = {line[0]: line[1:] for line in cells(output) if line[0].startswith("share of")}
    neighbours, recommended = shares.values()
    assert float(neighbours[0]) > 0.8
    assert float(recommended[0]) > 0.6
    assert float(neighbours[1]) == pytest.approx(1 / 6, abs=0.01)
    assert "popularity" in output


def test_demo_on_a_file(file):
    output = run("demo", "--data", file, *QUICK).stdout
    assert "plays.csv" in output
    assert "[red]a" in output
    assert "planted" not in output


def test_help_and_version():
    assert "recommend" in run("--help").stdout
    assert "recommend" in run().stdout
    assert "--regularization" in run("fit", "--help").stdout
    assert run("--version").stdout == f"fastals {__version__}\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", [], "the file is empty"),
        ("a\n", [], "the first line has one field"),
        ("1,2\n3\n4,5\n", [], "line 2: 1 fields where the first line has 2"),
        ('1,2\n3,"4\n', [], 'line 2: a quote (") is opened and never closed'),
        ("1,2\0\n", [], "this is binary data"),
        ('{"user": 1, "item": 2\n', [], "line 1: this is not JSON"),
        ("u;i;n\n1;2;2,5\n", [], "column 'n' has '2,5', wanted a finite number; name the decimal comma"),
        ("%%MatrixMarket matrix coordinate real general\n9 9 9999999\n1 1 1\n", [], "wanted 9999999 of 3"),
        ("1,2\n" + "x" * 2**21, [], "line 2: Maximum line size of 2000000 bytes exceeded"),
        ("user,item,rating\n1,2,nan\n", [], "line 2: column 'rating' has 'nan'"),
        ("user,item\n1,2\n", ["--item-column", "book"], "no item column 'book'; the file has 'user', 'item'"),
        ("1,2\n", ["--user-column", "9"], "no user column number 9; the file has columns 1 to 2"),
        ("1,2\n", ["--user-column", "0"], "columns are counted from 1, got 0"),
        ("1,2\n", ["--duplicates", "first"], "duplicates must be one of"),
        ("1,2,0\n1,3,0\n", [], "no interaction that is not zero"),
        ("1,2\n", ["--factors", "0"], "factors"),
        ("1,2\n", ["--regularization", "-1"], "regularization"),
        ("1,2\n", ["--solver", "sgd"], "solver"),
        ("1,2\n", ["--objective", "bpr"], "objective"),
        ("1,2\n", ["--confidence", "exp"], "confidence"),
        ("1,2\n", ["--seed", "-1"], "random_state"),
    ],
)
def test_fit_tells_of_bad_input_in_one_line(tmp_path, text, options, message):
    path = tmp_path / "t.txt"
    path.write_text(text)
    output = tmp_path / "m.fastals"
    assert message in fails("fit", path, "-o", output, *options)
    assert not output.exists()


def test_paths_that_do_not_exist(tmp_path, file, fitted):
    assert "none.csv: No such file or directory" in fails("fit", tmp_path / "none.csv")
    assert "there is no folder" in fails("fit", file, "-o", tmp_path / "no" / "m.fastals")
    assert "this is a folder" in fails("fit", file, "-o", tmp_path)
    assert "No such file" in fails("recommend", tmp_path / "none", "--user", 1)
    assert "must end in .csv, .csv.gz or .parquet" in fails("recommend", fitted[1], "--all", "-o", tmp_path / "a.txt")


def test_files_that_are_no_model(tmp_path, file, fitted):
    assert "plays.csv" in fails("recommend", file, "--user", 1)
    broken = tmp_path / "broken.fastals"
    broken.write_bytes(fitted[1].read_bytes()[:-500])
    assert "broken.fastals" in fails("similar", broken, "--item", "[red]a5")


def test_errors_go_to_standard_error(tmp_path):
    script = "from fastals.cli import main; main()"
    arguments = [sys.executable, "-c", script, "fit", str(tmp_path / "none.csv")]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"error: {tmp_path / 'none.csv'}: No such file or directory\n"


def test_unknown_ids(fitted):
    assert fails("recommend", fitted[1], "--user", "nobody").endswith(
        "unknown user id 'nobody' (60 user ids are known)"
    )
    assert fails("similar", fitted[1], "--item", "RED a31").endswith("; did you mean '[red]a31'?")
    assert "did you mean 'u33'" in fails("recommend", fitted[1], "--user", "u33 ")
    assert "unknown item id 'u3'; known as user id: are users and items swapped?" in fails(
        "similar", fitted[1], "--item", "u3"
    )
    assert "unknown item id 'x'" in fails("explain", fitted[1], "--user", "u3", "--item", "x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fitt"], "No such command 'fitt'"),
        (["fit"], "Missing argument"),
        (["fit", "x", "--bogus"], "No such option"),
        (["fit", "x", "--factors", "many"], "--factors"),
        (["--bogus"], "No such option"),
        (["recommend", "m"], "give either --user ID or --all"),
        (["recommend", "m", "--all"], "--all needs --output"),
        (["recommend", "m", "--user", "1", "--all"], "give either"),
        (["recommend", "m", "--user", "1", "-n", "0"], "-n"),
        (["similar", "m"], "give either --item ID or --user ID"),
        (["explain", "m", "--user", "1"], "Missing option"),
    ],
)
def test_wrong_usage(arguments, message):
    told = fails(*arguments, code=2)
    assert message in told
    assert "Invalid value: " not in told


def test_defects_keep_their_traceback(monkeypatch, file):
    monkeypatch.setattr("fastals.cli.show.summary", lambda *arguments: 1 // 0)
    result = CliRunner().invoke(app, ["fit", str(file)])
    assert isinstance(result.exception, ZeroDivisionError)


def test_interrupt(monkeypatch, file):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastals.cli.show.train", interrupt)
    assert fails("evaluate", file, code=130) == "error: interrupted"


def test_python_runs_the_package():
    arguments = [sys.executable, "-W", "error", "-m", "fastals", "--version"]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"fastals {__version__}\n"


def test_missing_libraries_are_named():
    script = "import sys; sys.modules['typer'] = None; from fastals.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "error: the command line needs typer; install it with: pip install 'fastals[cli]'\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fastals rec", {"recommend"}),
        ("fastals fit --reg", {"--regularization", "--regularization-exponent"}),
        ("fastals fit x --solver c", {"cg", "cholesky"}),
        ("fastals fit x --duplicates ", {"sum", "mean", "max", "last", "count", "error"}),
    ],
)
def test_shell_completion(words, expected):
    script = "import sys; sys.argv = ['fastals']; from fastals.cli import main; main()"
    settings = {"_FASTALS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    got = subprocess.run([sys.executable, "-c", script], env={**os.environ, **settings}, capture_output=True, text=True)
    assert set(got.stdout.split()) == expected, got.stderr
