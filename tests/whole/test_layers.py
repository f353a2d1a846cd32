"""Arrows point one way: every file stands on a floor and imports from lower floors alone; names stay private."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastals

ROOT = Path(fastals.__file__).parent
COMPILERS = {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc", "generated_jit", "prange", "intrinsic"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
KERNELS = [name for name in TREES if name.startswith("fastals.kernels")]


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """(module, name) of every import at any depth; name is None for ``import module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((str(node.module), alias.name) for alias in node.names)


def imported_modules(name: str) -> set[str]:
    """Modules of this package that a module imports; ``from package import module`` among them."""
    found = set()
    for module, member in imports(TREES[name]):
        if module.split(".")[0] == "fastals":
            found.add(f"{module}.{member}" if f"{module}.{member}" in TREES else module)
    return found - {name}


def reached(name: str) -> set[str]:
    """All modules of this package that importing a module brings with it, by its own imports."""
    found, waiting = set(), [name]
    while waiting:
        new = imported_modules(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


# Rooms, lowest floor first; those on one floor do not know one another.
FLOORS = (
    ("kernels",),
    ("core",),
    ("objective", "tables", "weighting"),
    ("solver", "datasets"),
    ("serving", "persistence"),
    ("model", "evaluation"),
    ("callbacks", "interactions", "checkpoint", "export", "compat", "distributed"),
    ("tuning",),
    ("",),  # the package's face
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(name: str) -> str:
    return [*name.split("."), ""][1]


def test_the_package_has_been_found():
    assert {"fastals", "fastals.model", "fastals.solver.half_sweep", "fastals.kernels.rows.cg_rows"} <= set(TREES)
    assert reached("fastals.model") >= {
        "fastals.solver.half_sweep",
        "fastals.kernels.rows.cg_rows",
        "fastals.core.rows",
    }


@pytest.mark.parametrize("name", TREES)
def test_imports_go_down(name):
    """Every file of the package has a floor, and imports from its own room or from a lower floor."""
    room = room_of(name)
    assert room in FLOOR_OF, f"{name} is in no room of FLOORS"
    for other in imported_modules(name):
        there = room_of(other)
        assert there == room or FLOOR_OF[there] < FLOOR_OF[room], f"{name} imports {other}"


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_know_nobody(name):
    for module, _ in imports(TREES[name]):
        top = module.split(".")[0]
        assert module.startswith("fastals.kernels") or top in {"numpy", "numba", "llvmlite", *sys.stdlib_module_names}


@pytest.mark.parametrize("name", [name for name in TREES if name != "fastals"])
@pytest.mark.slow
def test_imports_have_no_circle(name):
    assert name not in reached(name)


@pytest.mark.parametrize("name", TREES)
def test_private_names_stay_at_home(name):
    modules = set()  # local names bound to modules of this package
    for module, member in imports(TREES[name]):
        if module.split(".")[0] == "fastals":
            assert not is_private(member or ""), f"{name} imports {module}.{member}"
            modules.add(member or module)
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            is_module = node.value.id == "fastals" or any(tree.endswith(f".{node.value.id}") for tree in TREES)
            assert not (is_module and is_private(node.attr)), f"{name} uses {node.value.id}.{node.attr}"


@pytest.mark.parametrize("name", [name for name in TREES if name not in KERNELS])
def test_nothing_is_compiled_outside_of_the_kernels(name):
    for module, member in imports(TREES[name]):
        assert not (module.split(".")[0] == "numba" and member in COMPILERS), f"{name} imports numba.{member}"
        assert module != "fastals.kernels.jit", f"{name} imports from fastals.kernels.jit"
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("numba", "nb"):
            assert node.attr not in COMPILERS, f"{name} uses numba.{node.attr}"


@pytest.mark.parametrize("name", [name for name in TREES if not name.startswith("fastals.cli")])
def test_only_core_dependencies_are_imported_with_the_package(name):
    """Everything else is an optional extra, imported where it is used."""
    core = {"numpy", "scipy", "numba", "llvmlite", "fastals", *sys.stdlib_module_names}
    for node in TREES[name].body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            assert {module.split(".")[0] for module, _ in imports(node)} <= core


def test_no_lock_is_shared_by_all_instances():
    """A cached_property has one in Python 3.11, which a fork amid a fit in another thread inherits for ever."""
    users = [name for name in TREES if ("functools", "cached_property") in imports(TREES[name])]
    users += [
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "cached_property"
    ]
    assert users == []
