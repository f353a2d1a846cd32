"""The progress display of ``fit`` as users see it: on standard error, with tqdm and without."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from models import assert_same, small

from fastals.core import progress
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


class Terminal(io.StringIO):
    """Standard error that is, or is not, a terminal."""

    def __init__(self, is_terminal):
        super().__init__()
        self.isatty = lambda: is_terminal


# Seconds that each of ten sweeps takes, and the sweep from which on they are shown; None: not at all.
COURSES = {
    "long": ([2.0] * 10, 2),
    "just long": ([1.0] * 10, 2),
    "short": ([0.9] * 10, None),
    "compiling is not slow": ([9.0, *[0.05] * 9], None),
    "slow only later": ([0.1, 0.1, 0.1, 5.0, *[5.0] * 6], 4),
    "long, but nearly done when that shows": ([0.5] * 9 + [60.0], None),
}


@pytest.mark.usefixtures("tqdm")
@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize("is_terminal", [True, False])
def test_long_fits_are_shown_unasked_on_a_terminal(course, is_terminal, monkeypatch):
    seconds, expected = COURSES[course]
    clock = iter(np.cumsum([0.0, *seconds]).tolist())
    stream = Terminal(is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    first = None
    with progress.progress_bar(10, None) as advance:
        for sweep in range(1, 11):
            advance(100.0 - sweep)
            if first is None and stream.getvalue():
                first = sweep

    assert first == (expected if is_terminal else None)
    assert ("10/10" in stream.getvalue()) == (first is not None)


def test_a_process_without_standard_error_fits_silently(ratings, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)

    assert len(small(iterations=2).fit(ratings).loss_history) == 2
