"""The progress display of ``fit`` as users see it: on standard error, with tqdm and without, only if asked for."""

import sys

import pytest
from models import assert_same, small

from fastals.core.progress import stage_bar


@pytest.fixture(params=["with tqdm", "without tqdm"])
def tqdm(request, monkeypatch):
    if request.param == "with tqdm":
        return pytest.importorskip("tqdm")
    for name in {"tqdm", "tqdm.auto", *(name for name in sys.modules if name.startswith("tqdm."))}:
        monkeypatch.setitem(sys.modules, name, None)
    return None


@pytest.mark.usefixtures("tqdm")
def test_every_sweep_is_shown_with_its_loss(ratings, capsys):
    expected = small(iterations=3).fit(ratings)
    assert capsys.readouterr() == ("", "")

    got = small(iterations=3).fit(ratings, show_progress=True)

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "3/3" in shown.err
    assert f"{got.loss_history[-1]:.6g}" in shown.err
    assert_same(got, expected)


@pytest.mark.usefixtures("tqdm")
def test_display_ends_where_the_fit_does(ratings, capsys):
    def stop(model, sweep, loss):
        return sweep == 1

    def fail(model, sweep, loss):
        raise KeyError("from the callback")

    small(iterations=5).fit(ratings, show_progress=True, callback=stop)
    shown = capsys.readouterr().err
    assert "2/5" in shown
    assert "3/5" not in shown
    with pytest.raises(KeyError, match="from the callback"):
        small(iterations=5).fit(ratings, show_progress=True, callback=fail)
    assert "1/5" in capsys.readouterr().err


@pytest.mark.usefixtures("tqdm")
def test_nothing_to_do(ratings):
    small(iterations=0).fit(ratings, show_progress=True)


@pytest.mark.usefixtures("tqdm")
def test_stages_are_shown_by_name(capsys):
    for shown in (False, True):
        with stage_bar(shown) as stage:
            for name in ("reading", "sorting"):
                for done in range(4):
                    stage(name, done, 3)
        printed = capsys.readouterr()
        assert printed.out == ""
        assert ("reading" in printed.err and "sorting" in printed.err) == shown
