"""The line that tells of a long compilation."""

import io

import pytest

from fastals.kernels import patience


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """What the clock shows, in a process that has compiled nothing yet."""
    shown = [100.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: shown[0])
    monkeypatch.setattr(patience, "_told", False)
    monkeypatch.setattr(patience, "_outermost", None)
    return shown


def compile_all(clock, kernels: list[str], seconds: float) -> None:
    """The first kernel calls the others, each of which takes so long."""
    patience.compilation_begins(kernels[0])
    for kernel in kernels[1:]:
        patience.compilation_begins(kernel)
        clock[0] += seconds
        patience.compilation_ends(kernel)
    patience.compilation_ends(kernels[0])


@pytest.mark.parametrize(("seconds", "told"), [(0.2, False), (0.4, True), (5.0, True)])
def test_a_long_compilation_is_told_once(clock, monkeypatch, seconds, told):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    for _ in range(3):
        compile_all(clock, ["outer", "one", "other", "third"], seconds)

    assert terminal.getvalue() == (patience.MESSAGE + "\n") * told


def test_short_ones_do_not_add_up(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)

    for kernel in range(50):
        compile_all(clock, [f"outer {kernel}", "inner"], 0.5)
        clock[0] += 10

    assert terminal.getvalue() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_nothing_is_written_where_nobody_waits(clock, monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", stream)

    compile_all(clock, ["outer", "inner"], 30.0)

    assert stream is None or stream.getvalue() == ""


def test_a_compilation_that_failed_hinders_none(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    patience.compilation_begins("failed")

    compile_all(clock, ["outer", "inner"], 2.0)

    assert terminal.getvalue() == patience.MESSAGE + "\n"
