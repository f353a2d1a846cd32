"""Scripts run in processes of their own, under a given threading layer of Numba."""

import os
import subprocess
import sys

import pytest

LAYERS = ["workqueue", "omp", "tbb"]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


def run_under_layer(layer: str, *arguments: str, quiet: bool = False) -> list[str]:
    """Lines, but empty ones, that Python printed which ran to its end with two threads of a layer.

    ``arguments`` are Python's own; ``quiet`` demands that nothing is said on standard error. Skips where the layer is
    not installed. What Numba's TBB layer says of forks for which it could not stop its threads is left out.
    """
    settings = {"NUMBA_THREADING_LAYER": layer, "PYTHONPATH": os.pathsep.join(sys.path)}
    settings |= {"NUMBA_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **settings}, capture_output=True, text=True, timeout=240
    )
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"Numba's threading layer {layer} is not installed")
    assert done.returncode == 0, done.stderr
    assert not (quiet and done.stderr), done.stderr
    return [line for line in done.stdout.splitlines() if line and not line.startswith("Unable to join threads")]
