"""The command line called in this process."""

from typer.testing import CliRunner

from fastals.cli.app import app


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "150"})
    assert result.exit_code == code, result.output
    return result


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
