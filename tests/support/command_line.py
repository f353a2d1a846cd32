"""The command line called in this process."""

from typing import NamedTuple

from typer.testing import CliRunner

from fastals.cli.app import app


class Printed(NamedTuple):
    """What a command has printed; ``output`` is both, one after the other."""

    stdout: str
    stderr: str
    output: str


def run(*arguments, code=0):
    try:
        runner = CliRunner(mix_stderr=False)
    except TypeError:  # Click from 8.2 on keeps them apart
        runner = CliRunner()
    result = runner.invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "150"})
    printed = Printed(result.stdout, result.stderr, result.stdout + result.stderr)
    assert result.exit_code == code, printed.output
    return printed


def fails(*arguments, code=1):
    """The one line in which a command that must fail says why."""
    result = run(*arguments, code=code)
    lines = result.output.strip().splitlines()
    assert "Traceback" not in result.output
    assert lines[-1].startswith("error: ")
    assert sum(line.startswith("error: ") for line in lines) == 1
    return lines[-1]


def cells(output):
    """Rows of the table in the output."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in output.splitlines() if line[:1] == "│"]
