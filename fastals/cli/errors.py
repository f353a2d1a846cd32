"""How the command line fails: in one line on standard error, with an exit code that says of what kind the fault is."""

from __future__ import annotations

import sys
from typing import Any

import typer
import typer.core

__all__ = ["BAD_INPUT", "BAD_USAGE", "INTERRUPTED", "InterruptedFitError", "OneLineErrors"]

BAD_INPUT, BAD_USAGE, INTERRUPTED = 1, 2, 130
# What bad input raises; anything else is a defect of fastals and keeps its traceback.
_BAD_INPUT = (ValueError, TypeError, OSError, ImportError, MemoryError, FloatingPointError)


class InterruptedFitError(Exception):
    """Work ended by Ctrl-C; the message says what has become of it."""


class OneLineErrors(typer.core.TyperGroup):
    """Tells of bad input and bad usage in one line on standard error, with exit code 1 or 2, and of Ctrl-C with 130."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command and exit."""
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
            if code == INTERRUPTED:  # what typer makes of Ctrl-C
                raise KeyboardInterrupt
        except (KeyboardInterrupt, typer.Abort):
            code = _fail("interrupted", INTERRUPTED)
        except InterruptedFitError as stop:
            code = _fail(str(stop), INTERRUPTED)
        except Exception as error:
            if hasattr(error, "format_message"):  # a usage error, whichever click typer brings
                code = _fail(error.format_message().removeprefix("Invalid value: "), BAD_USAGE)
            elif isinstance(error, _BAD_INPUT):
                code = _fail(_describe(error), BAD_INPUT)
            else:
                raise
        sys.exit(code if isinstance(code, int) else 0)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


def _fail(message: str, code: int) -> int:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    return code
