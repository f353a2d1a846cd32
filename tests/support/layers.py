"""Scripts run in processes of their own, under a given threading layer of Numba."""

import functools
import os
import subprocess
import sys

import pytest

LAYERS = ["workqueue", "omp", "tbb"]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")

LAUNCH = "from numba.np.ufunc.parallel import _launch_threads; _launch_threads()"


def python(layer: str, *arguments: str) -> subprocess.CompletedProcess:
    settings = {"NUMBA_THREADING_LAYER": layer, "PYTHONPATH": os.pathsep.join(sys.path)}
    settings |= {"NUMBA_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    command, environment = [sys.executable, *arguments], {**os.environ, **settings}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


@functools.cache
def installed(layer: str) -> bool:
    """Whether Numba finds a layer; asked beforehand, as a script may fork just when one of its threads is told so."""
    done = python(layer, "-c", LAUNCH)
    missing = "No threading layer could be loaded" in done.stderr
    assert missing or done.returncode == 0, done.stderr
    return not missing


def run_under_layer(layer: str, *arguments: str, quiet: bool = False) -> list[str]:
    """Lines, but empty ones, that Python printed which ran to its end with two threads of a layer.

    ``arguments`` are Python's own; ``quiet`` demands that nothing is said on standard error. Skips where the layer is
    not installed. What Numba's TBB layer says of forks for which it could not stop its threads is left out.
    """
    if not installed(layer):
        pytest.skip(f"Numba's threading layer {layer} is not installed")
    done = python(layer, *arguments)
    assert done.returncode == 0, done.stderr
    assert not (quiet and done.stderr), done.stderr
    return [line for line in done.stdout.splitlines() if line and not line.startswith("Unable to join threads")]
