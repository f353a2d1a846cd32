"""Tests mirror the package: what is in fastals/room/trade.py is tested in tests/room/test_trade.py."""

from pathlib import Path, PurePosixPath

import pytest

import fastals

PACKAGE = Path(fastals.__file__).parent
TESTS = Path(__file__).parents[1]
MODULES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]
OLD_NAME = "an old import path, which users' scripts and the tests of the commands and of checkpoints import"
COMMANDS = "what a command does is seen by running it: cli/test_app.py"
EMITTED = "emits machine code, which dense/test_tiled.py compares with NumPy, function by function"
FILES = "one step of reading a file: tables/test_readers.py"
# Modules without tests of their name, each with the reason.
ELSEWHERE = {
    "checkpoint.py": OLD_NAME,
    "export.py": OLD_NAME,
    "interactions.py": OLD_NAME,
    "__main__.py": COMMANDS,
    "cli/demo.py": COMMANDS,
    "cli/errors.py": COMMANDS,
    "core/types.py": "names of types alone",
    "kernels/dense/blocks.py": EMITTED,
    "kernels/dense/plain.py": EMITTED,
    "kernels/dense/tiles.py": EMITTED,
    "kernels/metrics.py": "evaluation/test_metrics.py",
    "tables/database.py": FILES,
    "tables/ids.py": "tables/test_interactions.py",
    "tables/layout.py": FILES,
    "tables/numbering.py": FILES,
    "tables/scans.py": FILES,
}


def place_of(module: str) -> Path:
    path = PurePosixPath(module)
    return TESTS / path.parent / f"test_{path.name}"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_tests_of_its_name(module):
    if module in ELSEWHERE:
        assert not place_of(module).exists(), f"{module} has tests of its name: strike it off ELSEWHERE"
    else:
        assert place_of(module).is_file(), f"{module} has no tests of its name, and ELSEWHERE gives no reason"


def test_what_is_tested_elsewhere_exists():
    assert set(ELSEWHERE) <= set(MODULES)


def test_rooms_of_the_tests_are_rooms_of_the_package():
    """Besides those of tests across rooms, and of what they share."""
    rooms = {path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")} - {"whole", "siege"}

    assert rooms <= {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
