"""Options that several commands share: what they set, and that they are checked first."""

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from command_line import fails, run

from fastals import ImplicitALS

QUICK = ["--factors", "8", "--iterations", "4", "--seed", "1"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "plays.csv"
    path.write_text("user,item\n" + "".join(f"{pair % 7},{pair % 5}\n" for pair in range(0, 35, 2)))
    return path


def test_fit_passes_every_setting_on(file, tmp_path):
    path = tmp_path / "m.fastals"
    options = {
        "factors": 3,
        "regularization": 0.5,
        "alpha": 2.0,
        "iterations": 1,
        "unobserved_weight": 0.25,
        "unobserved_exponent": 0.5,
        "regularization_exponent": 0.5,
        "objective": "rendle",
        "confidence": "log",
        "epsilon": 2.0,
        "solver": "cholesky",
        "tol": 0.01,
        "dtype": "float64",
    }
    flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    run("fit", file, "-o", path, "--threads", 1, "--seed", 7, "--no-acceleration", *flags)
    got = ImplicitALS.load(path).get_params()
    expected = {**ImplicitALS().get_params(), **options, "num_threads": 1, "random_state": 7, "acceleration": False}
    assert got == expected
    run("fit", file, "-o", path, "--acceleration", *QUICK, "--regularization", "auto", "--alpha", "auto")
    got = ImplicitALS.load(path).get_params()
    assert (got["regularization"], got["alpha"]) == ("auto", "auto")
    run("fit", file, "-o", path, *QUICK, "--regularization", "0.5,2", "--unobserved-exponent", "-0.25,1")
    got = ImplicitALS.load(path).get_params()
    assert (got["regularization"], got["unobserved_exponent"]) == ((0.5, 2.0), (-0.25, 1.0))
    run("fit", file, "-o", path, "--acceleration", *QUICK)
    assert ImplicitALS.load(path).acceleration is True


@pytest.mark.parametrize("command", ["fit", "evaluate"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--factors", "0"], "factors must be >= 1; got 0"),
        (["--alpha", "-3"], "alpha"),
        (["--alpha", "1,2"], "--alpha must be a number or auto; got '1,2'"),
        (["--alpha", ""], "--alpha must be a number or auto; got ''"),
        (["--regularization", "1,2,3"], "regularization must be"),
        (
            ["--unobserved-exponent", "x"],
            "--unobserved-exponent must be a number, two with a comma between, or auto; got 'x'",
        ),
        (["--tol", "-1"], "tol"),
        (["--seed", "-1"], "random_state"),
        (["--weighting", "bm"], "weighting must be one of"),
        (["--half-life", "90d"], "--half-life needs --time-column"),
        (["--duplicates", "first"], "duplicates must be one of"),
        (["--decimal", ";"], "decimal must be one of"),
        (["--user-column", "0"], "columns are counted from 1, got 0"),
    ],
)
def test_options_are_checked_before_data_are_read(tmp_path, command, options, message):
    assert message in fails(command, tmp_path / "absent.csv", *options)


def test_share_of_the_test_part_is_checked_before_data_are_read(tmp_path):
    told = fails("evaluate", tmp_path / "absent.csv", "--test-size", 1.5)
    assert told == "error: --test-size must be between 0 and 1, got 1.5"


def test_fit_reads_what_spreadsheets_of_europe_write(tmp_path):
    path, model = tmp_path / "t.csv", tmp_path / "m.fastals"
    path.write_bytes(
        "Käufer;Artikel;Menge;Laden\nJörg;x;2,5;1\nAnn;y;1,5;1\nJörg;y\n;x;2;1\nAnn;x;viel;1\n".encode("cp1252")
    )
    columns = ["--user-column", "Käufer", "--item-column", "Artikel", "--value-column", "Menge"]
    options = [*columns, "--encoding", "cp1252", "--decimal", ",", "--skip-bad"]
    output = " ".join(run("fit", path, "-o", model, *options, *QUICK).stdout.replace("│", "").split())
    made = ImplicitALS.load(model).interactions
    assert made.user_ids.tolist() == ["Ann", "Jörg"]
    assert made.user_items.toarray().tolist() == [[0, 1.5], [2.5, 0]]
    assert "unused: 'Laden'; 3 bad rows were dropped (line 4: 2 fields where the first line has 4; line 5:" in output
    assert "name its encoding" in fails("fit", path, *columns)


def test_fit_weighs_by_age(tmp_path):
    path, model = tmp_path / "t.csv", tmp_path / "m.fastals"
    path.write_text("user,item,n,when\nann,x,4,2024-01-01\nann,y,4,2024-03-31\nbob,x,4,2024-03-31\n")
    run("fit", path, "-o", model, "--time-column", "when", "--half-life", "90d", *QUICK)
    assert ImplicitALS.load(model).user_items_.toarray().tolist() == [[2, 4], [4, 0]]
