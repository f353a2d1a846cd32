"""Execute the notebooks beside this file and keep them with their outputs.

    python notebooks/execute.py                     all of them
    python notebooks/execute.py 01_seed.ipynb       some

Their last cells assert what they show. Whoever looks at the repository alone sees
their results so. Building the site executes them as well, without changing them. Each
runs in a temporary folder; pictures are reduced to 256 colours, so that the files stay
small.
"""

import argparse
import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

HERE = Path(__file__).resolve().parent
TIMEOUT = 600  # seconds for a cell
COLOURS = 256


def execute(path: Path) -> str:
    """Run a notebook and keep it with its outputs; returns what is wrong, if any."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    try:
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(
                notebook, timeout=TIMEOUT, resources={"metadata": {"path": folder}}
            ).execute()
    except CellExecutionError as error:
        return str(error)
    keep(notebook, path)
    return ""


def keep(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook: its outputs and small pictures, not when and by what it ran."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = reduced(data["image/png"])
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, path)


def reduced(picture: str) -> str:
    """A PNG, in base64, with few colours."""
    small = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(
        COLOURS
    ).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    failures = 0
    for name in options.names or sorted(path.name for path in HERE.glob("*.ipynb")):
        fault = execute(HERE / name)
        print(f"{name}: {fault or 'passed'}", flush=True)
        failures += bool(fault)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
