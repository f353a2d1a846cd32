"""Scripts run in processes of their own, with a cache of compiled code of their own."""

import os
import subprocess
import sys
from pathlib import Path


def run_elsewhere(script: str, folder: Path, **settings: str) -> str:
    """What a script prints that runs to its end in a folder, where its cache is; warnings are errors.

    A copy of the package in the folder is the one that is imported; without one, what the package's own cache holds for
    the same processor is loaded, too.
    """
    folder.mkdir(exist_ok=True)
    settings = {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)} | settings
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
