import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from command_line import cells, run

from fastals import ImplicitALS
from fastals.cli import show
from fastals.interactions import Interactions


@pytest.mark.parametrize("ids", [True, False])
def test_info_shows_what_the_model_holds(ratings, tmp_path, ids):
    path = tmp_path / "m.fastals"
    model = ImplicitALS(5, iterations=3, regularization=(0.5, 2.0), random_state=0).fit(ratings)
    names = Interactions(ratings, [f"u{row}" for row in range(30)]) if ids else None
    model.save(path, interactions=names)
    output = run("info", path).stdout
    table = {line[0]: line[1:] for line in cells(output)}
    assert table["users"] == ["30"]
    assert table["items"] == ["22"]
    assert table["interactions"] == [f"{ratings.nnz}"]
    assert table["factors"] == ["5"]
    assert table["regularization"] == ["(0.5, 2.0)"]
    assert table["alpha"] == ["auto"]
    assert table["alpha that was used"] == [show.number(model.alpha_)]
    exponents = table["exponents of missing pairs that were used"]
    assert exponents == [f"0, {show.number(model.unobserved_exponent_[1], 4)}"]
    assert table["ids"] == [
        "users as text, such as 'u0'; items as integers, such as 0" if ids else "positions counted from 0"
    ]
    assert str(path) in table["file"][0].replace("\n", "")
    assert show.size(path) in output
    assert [table[str(sweep)][0] for sweep in (1, 2, 3)] == [show.number(loss) for loss in model.loss_history]
    assert table["steps of conjugate gradients a row, last sweep"] == [show.number(model.solver_report_["cg_steps"], 4)]


def test_every_entry_of_the_report_has_a_name_for_people(ratings, tmp_path):
    model = ImplicitALS(2, iterations=1, random_state=0).fit(ratings)
    model.save(tmp_path / "m")
    shown = {line[0] for line in cells(run("info", tmp_path / "m").stdout)}
    assert not shown & set(model.solver_report_)
