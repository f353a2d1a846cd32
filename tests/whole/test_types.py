"""What a type checker knows of the package, from outside: a user's script under mypy --strict."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

SCRIPT = Path(__file__).parents[1] / "support" / "typed_script.py"


def checked(script, cache):
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", str(script)]
    return subprocess.run(command, cwd=cache, capture_output=True, text=True)


@pytest.mark.slow
def test_a_users_script_passes(tmp_path):
    done = checked(SCRIPT, tmp_path)

    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_type_that_is_lost_is_noticed(tmp_path):
    """Each assertion and each expected error of the script bites: turned round, all of them are reported."""
    text = SCRIPT.read_text()
    wrong = text.replace("assert_type(", "assert_type(None if int() else ").replace(
        "  # type: ignore", "  # was ignored"
    )
    script = tmp_path / "wrong.py"
    script.write_text(wrong)

    done = checked(script, tmp_path)

    reported = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    lines = enumerate(text.splitlines(), 1)
    expected = {at for at, line in lines if line.startswith("assert_type(") or "# type: ignore" in line}
    assert reported == expected, done.stdout
