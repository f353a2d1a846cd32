"""The command line: fit, recommend, similar, explain, info, evaluate, demo and store."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; where its libraries are missing, say how to install them."""
    try:
        from fastals.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("typer", "rich"):
            raise
        sys.exit(f"error: the command line needs {error.name}; install it with: pip install 'fastals[cli]'")
    app()
