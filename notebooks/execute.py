"""Execute the notebooks beside this file, whose last cells assert what they show.

    python notebooks/execute.py                     all of them
    python notebooks/execute.py 01_seed.ipynb       some
    python notebooks/execute.py --keep FOLDER       and write them with their outputs to FOLDER

Each runs in a temporary folder. A notebook that has been saved with outputs is refused.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
TIMEOUT = 600  # seconds for a cell


def execute(path: Path, keep: Path | None) -> str:
    """Run one notebook; returns what is wrong with it, or nothing."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    if any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells):
        return "has outputs: clear them before saving"
    try:
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, timeout=TIMEOUT, resources={"metadata": {"path": folder}}).execute()
    except CellExecutionError as error:
        return str(error)
    if keep is not None:
        nbformat.write(notebook, keep / path.name)
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    failures = 0
    for name in options.names or sorted(path.name for path in HERE.glob("*.ipynb")):
        fault = execute(HERE / name, options.keep)
        print(f"{name}: {fault or 'passed'}", flush=True)
        failures += bool(fault)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
