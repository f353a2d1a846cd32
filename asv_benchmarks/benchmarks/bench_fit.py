"""What a user waits for: fit, import, the first fit of a process; and the memory it takes."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fastals import ImplicitALS

from .frozen_data import REGIMES, OnFrozenData, binary, interactions

FIRST_FIT = """
import scipy.sparse as sp
from fastals import ImplicitALS
ratings = sp.random(200, 100, 0.1, "csr", random_state=0)
"""
FIT = "ImplicitALS(64, iterations=1).fit(ratings)"


class Fit(OnFrozenData):
    """Five sweeps with all else as it comes."""

    params = (["films", "places"], ["cg", "cholesky"], [64, 128])
    param_names = ("shape", "solver", "factors")
    dtype = "float32"

    def setup(self, data, shape: str, solver: str, factors: int) -> None:
        self.model = ImplicitALS(factors, solver=solver, dtype=self.dtype, iterations=5, random_state=0)
        self.model.fit(data["small"].train)  # compiles, or loads what was compiled

    def time_fit(self, data, shape: str, solver: str, factors: int) -> None:
        self.model.fit(data[shape].train)


class FitFloat64(Fit):
    """The same in float64."""

    params = (["films", "places"], ["cg", "cholesky"], [64])
    dtype = "float64"


class PlainFit(OnFrozenData):
    """Ten plain sweeps to 1e-4 over long rows, which start from guesses; the steps of a row in the last one."""

    params = ([64, 256],)
    param_names = ("factors",)

    def setup(self, data, factors: int) -> None:
        settings = {"confidence": "linear", "unobserved_exponent": 0.0, "acceleration": False, "tol": 1e-4}
        self.model = ImplicitALS(factors, iterations=10, random_state=0, **REGIMES["hu"], **settings)
        self.model.fit(binary(data["small"].train))
        self.user_items = binary(data["films"].train)

    def time_fit(self, data, factors: int) -> None:
        self.model.fit(self.user_items)

    def track_steps(self, data, factors: int) -> float:
        return self.model.fit(self.user_items).solver_report_["cg_steps"]

    track_steps.unit = "steps"


class StartUp:
    """Fresh processes: imports, and the first fit with machine code from the cache."""

    timeout, number, repeat = 600, 1, 5

    def setup(self) -> None:
        subprocess.run([sys.executable, "-c", FIRST_FIT + FIT], check=True)

    def timeraw_import_numba(self) -> str:
        return "import numba"

    def timeraw_import(self) -> str:
        return "import fastals"

    def timeraw_first_fit_warm_cache(self) -> tuple[str, str]:
        return FIT, FIRST_FIT


def track_first_fit_cold_cache() -> float:
    """Seconds of the first fit where nothing has been compiled yet: in a copy of the package without a cache."""
    timed = FIRST_FIT + f"import time\nstart = time.perf_counter()\n{FIT}\nprint(time.perf_counter() - start)"
    package = Path(importlib.util.find_spec("fastals").submodule_search_locations[0])
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(package, Path(folder, "fastals"), ignore=shutil.ignore_patterns("__pycache__"))
        environment = {**os.environ, "PYTHONPATH": folder, "HOME": folder, "XDG_CACHE_HOME": folder}
        done = subprocess.run(
            [sys.executable, "-c", timed], env=environment, cwd=folder, check=True, capture_output=True, text=True
        )
    return float(done.stdout)


track_first_fit_cold_cache.unit = "seconds"
track_first_fit_cold_cache.timeout = 600


class Memory:
    """Peak memory of the process: with the data alone, and through one sweep. The data come from another process."""

    params = ([64, 256],)
    param_names = ("factors",)

    def setup_cache(self):
        return interactions("places").train

    def peakmem_data_alone(self, train, factors: int) -> None:
        pass

    def peakmem_fit(self, train, factors: int) -> None:
        ImplicitALS(factors, iterations=1, random_state=0).fit(train)
