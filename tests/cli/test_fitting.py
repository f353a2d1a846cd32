"""``fastals fit`` to the end, or to Ctrl-C and on from there."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from command_line import fails, run

from fastals import ImplicitALS
from fastals.solver.sweeps import Training

QUICK = ["-k", "8", "-t", "6", "--seed", "1"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("plays") / "plays.csv"
    pairs = [(user, item) for user in range(60) for item in range(40) if (3 * user + item) % 7 == 0]
    path.write_text("user,item\n" + "".join(f"u{user},i{item}\n" for user, item in pairs))
    return path


@pytest.fixture(scope="module")
def whole(file):
    """The model of a fit without a break."""
    run("fit", file, "-o", file.parent / "whole", *QUICK)
    return ImplicitALS.load(file.parent / "whole")


@pytest.fixture
def interrupt_after(monkeypatch):
    """Let Ctrl-C come before the sweep of a number, counted from 0; returns what lets fits run on."""
    sweep = Training.sweep

    def set_to(number):
        def interrupted(training):
            if len(training.loss_history) == number:
                raise KeyboardInterrupt
            return sweep(training)

        monkeypatch.setattr(Training, "sweep", interrupted)

    return set_to


def test_interrupt_saves_what_is_there_and_says_so(file, tmp_path, whole, interrupt_after):
    interrupt_after(4)
    output = tmp_path / "m.fastals"
    told = fails("fit", file, "-o", output, *QUICK, code=130)
    assert told.startswith(f"error: interrupted after 4 of 6 sweeps, whose model is saved in {output} (")
    got = ImplicitALS.load(output)
    assert got.loss_history == whole.loss_history[:4]
    assert got.interactions.user_ids.tolist() == whole.interactions.user_ids.tolist()
    run("recommend", output, "--user", "u3")


def test_interrupt_before_the_first_sweep_saves_nothing(file, tmp_path, interrupt_after):
    interrupt_after(0)
    told = fails("fit", file, "-o", tmp_path / "m.fastals", *QUICK, code=130)
    assert told == "error: interrupted before the first sweep was done, nothing is saved"
    assert list(tmp_path.iterdir()) == []


def test_the_same_command_goes_on_from_the_checkpoint(file, tmp_path, whole, interrupt_after, monkeypatch):
    output, checkpoint = tmp_path / "m.fastals", tmp_path / "c"
    command = ["fit", file, "-o", output, "--checkpoint", checkpoint, *QUICK]
    interrupt_after(4)
    assert fails(*command, code=130).endswith(f"; the same command goes on from {checkpoint}")
    monkeypatch.undo()
    assert f"Going on from {checkpoint}" in run(*command).stdout
    got = ImplicitALS.load(output)
    assert got.loss_history == whole.loss_history
    np.testing.assert_array_equal(got.user_factors, whole.user_factors)
    np.testing.assert_array_equal(got.item_factors, whole.item_factors)
    assert not checkpoint.exists()


def test_checkpoints_of_other_fits_are_refused(file, tmp_path, interrupt_after, monkeypatch):
    checkpoint = tmp_path / "c"
    interrupt_after(2)
    fails("fit", file, "-o", tmp_path / "m", "--checkpoint", checkpoint, *QUICK, code=130)
    monkeypatch.undo()
    fails("fit", file, "-o", tmp_path / "m", "--checkpoint", checkpoint, *QUICK, "--alpha", 3)
    assert checkpoint.exists()
    (tmp_path / "text").write_text("no checkpoint")
    assert "text" in fails("fit", file, "-o", tmp_path / "m", "--checkpoint", tmp_path / "text", *QUICK)
    assert "this is the file that is read" in fails("fit", file, "--checkpoint", file)
    assert "there is no folder" in fails("fit", file, "--checkpoint", tmp_path / "no" / "c")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_signal_from_outside(file, tmp_path):
    output, checkpoint = tmp_path / "m.fastals", tmp_path / "c"
    # Of a background process of a shell, which ignores it, the child would inherit that.
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    script = f"{hears}; from fastals.cli import main; main()"
    options = ["-k", "8", "-t", str(10**6), "-o", str(output), "--checkpoint", str(checkpoint)]
    command = [sys.executable, "-W", "error", "-c", script, "fit", str(file), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            # The first sweeps still import modules, whose files an interrupt leaves open: Python warns of that itself.
            written = set()
            while len(written) < 5 and process.poll() is None:
                with contextlib.suppress(FileNotFoundError):
                    written.add(checkpoint.stat().st_mtime_ns)
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert f"whose model is saved in {output}" in errors
    assert ImplicitALS.load(output).loss_history
