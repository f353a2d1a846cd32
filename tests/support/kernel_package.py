"""A package of two small kernels, compiled and cached as the real ones are, and processes that call them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fastals.kernels

KERNELS = Path(fastals.kernels.__file__).parent
COMPILING = ("forks.py", "jit.py", "machine_code.py", "patience.py", "private_folder.py")
INNER = "from fastals.kernels.jit import compiled\n@compiled\ndef inner(x):\n    return x * {factor}\n"
OUTER = """
import numba
from fastals.kernels.inner import inner
from fastals.kernels.jit import compiled, compiled_parallel

@compiled
def outer(x):
    return inner(x) + 1

@compiled_parallel
def outer_all(x, out):
    for t in numba.prange(x.size):
        out[t] = outer(x[t])
"""
# Prints the result and the caller's cache hits and misses.
CALL = """
from fastals.kernels.outer import outer
print(outer(5.0))
print(*(sum(getattr(outer.stats, name).values()) for name in ("cache_hits", "cache_misses")))
"""
CALL_PARALLEL = """
import numpy as np
from fastals.kernels.outer import outer_all
out = np.zeros(3)
outer_all(np.array([1.0, 2.0, 3.0]), out)
print(*out)
print(*(sum(getattr(outer_all.stats, name).values()) for name in ("cache_hits", "cache_misses")))
"""


def write_package(root: Path, factor: str = "10") -> Path:
    """A copy of what compiles and caches, beside two small kernels, of which one calls the other."""
    kernels = root / "fastals" / "kernels"
    kernels.mkdir(parents=True)
    (root / "fastals" / "__init__.py").touch()
    (kernels / "__init__.py").touch()
    for name in COMPILING:
        shutil.copy(KERNELS / name, kernels / name)
    (kernels / "inner.py").write_text(INNER.format(factor=factor))
    (kernels / "outer.py").write_text(OUTER)
    return kernels


def environment(root: Path, **settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "COVERAGE_"))}
    home = {"HOME": str(root / "home"), "XDG_CACHE_HOME": str(root / "home"), "LOCALAPPDATA": str(root / "home")}
    return {**kept, **home, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", **settings}


def start(root: Path, script: str = CALL, **settings: str) -> subprocess.Popen:
    command = [sys.executable, "-W", "error", "-c", script]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment(root, **settings), cwd=root, text=True, **pipes)


def finish(process: subprocess.Popen) -> list[str]:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors == ""
    return output.splitlines()


def run(root: Path, script: str = CALL, **settings: str) -> list[str]:
    return finish(start(root, script, **settings))


def cache_folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("fastals-machine-code-*"))
