"""Tests mirror the package: what is in fastals/room/trade.py is tested in tests/room/test_trade.py."""

from pathlib import Path, PurePosixPath

import pytest

import fastals

PACKAGE = Path(fastals.__file__).parent
TESTS = Path(__file__).parents[1]
MODULES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]
OLD_NAME = "an old import path, which users' scripts and the tests of the commands and of checkpoints import"
COMMANDS = "what a command does is seen by running it: cli/test_app.py"
FILES = "one step of reading a file: tables/test_readers.py"
STORES = "one step of building a store: tables/test_store.py"
# Modules without tests of their name, each with the reason.
ELSEWHERE = {
    "checkpoint.py": OLD_NAME,
    "export.py": OLD_NAME,
    "interactions.py": OLD_NAME,
    "__main__.py": COMMANDS,
    "cli/demo.py": COMMANDS,
    "cli/errors.py": COMMANDS,
    "core/canonical.py": "core/test_matrix_forms.py and core/test_validation.py",
    "core/types.py": "names of types alone",
    "solver/fit.py": "test_model.py",
    "evaluation/parts.py": "what the splits share: evaluation/test_splits.py",
    "kernels/dense/blocks.py": "chooses between two modules that have tests of their names",
    "tables/database.py": FILES,
    "tables/duplicates.py": "columns of tables in memory: tables/test_interactions.py",
    "tables/ids.py": "tables/test_interactions.py",
    "tables/layout.py": FILES,
    "tables/numbering.py": FILES,
    "tables/pairs.py": "tables/test_interactions.py",
    "tables/scans.py": FILES,
    "tables/staging.py": STORES,
    "tables/store_build.py": STORES,
    "tables/store_sources.py": STORES,
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


def test_files_are_short():
    """Nobody has to scroll through more than 400 lines; longer files have a second reason to exist."""
    lengths = {path: len(path.read_text().splitlines()) for top in (PACKAGE, TESTS) for path in top.rglob("*.py")}
    assert len(lengths) > len(MODULES)
    assert not {path.name: length for path, length in lengths.items() if length > 400}
