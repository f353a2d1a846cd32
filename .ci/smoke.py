"""What an installed wheel must do without the source tree and without any extra."""

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import fastals

assert Path(fastals.__file__).is_relative_to(sys.prefix), fastals.__file__
assert version("fastals") == fastals.__version__
assert (files("fastals") / "py.typed").is_file()

ratings = sp.random(200, 100, 0.1, "csr", random_state=0)
for solver in ("cg", "cholesky"):
    model = fastals.ImplicitALS(factors=8, solver=solver, iterations=5, random_state=0).fit(ratings)
    assert np.isfinite(model.loss_history).all()
with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder, "model.fastals"))
    loaded = fastals.ImplicitALS.load(Path(folder, "model.fastals"))
got, expected = loaded.recommend(np.arange(200)), model.recommend(np.arange(200))
np.testing.assert_array_equal(got[0], expected[0])

# The command is there, and says what to install.
command = shutil.which("fastals", path=sysconfig.get_path("scripts"))
done = subprocess.run([command, "demo"], capture_output=True, text=True)
assert done.returncode == 1, done
assert "pip install 'fastals[cli]'" in done.stderr, done
print(f"fastals {fastals.__version__} from {Path(fastals.__file__).parent}: {len(model.loss_history)} sweeps")
