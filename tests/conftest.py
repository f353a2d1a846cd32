"""What several test files share: hypothesis's profiles, and a random matrix with empty rows and columns."""

import collections
import os
import sys

# Before NumPy is imported. The oracles' matrices are small: BLAS's threads gain nothing there, and where there are more
# of them than processors they wait for one another (least squares of 1412 x 512: 1.2 s of processor time, not .04 s).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, settings
from warming import warm

# The first example may compile a kernel.
settings.register_profile(
    "fastals", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
# The long fault hunt: FASTALS_HUNT=1 pytest tests/whole/test_hunt*.py, or any other number of thousands of examples.
settings.register_profile(
    "hunt",
    deadline=None,
    max_examples=int(1000 * float(os.environ.get("FASTALS_HUNT") or 1)),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("hunt" if os.environ.get("FASTALS_HUNT") else "fastals")


# Outcomes of the calls of the fault hunt: this process's, or those that workers have sent to the one that started them.
outcomes: collections.Counter[str] = collections.Counter()


def pytest_sessionstart(session):
    """Where tests run in several processes: compile before these start what they would all compile."""
    if getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput"):
        warm()


def pytest_sessionfinish(session):
    if "hunting" in sys.modules:
        outcomes.update(sys.modules["hunting"].COUNTS)
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["outcomes"] = dict(outcomes)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    outcomes.update(getattr(node, "workeroutput", {}).get("outcomes", {}))


def pytest_terminal_summary(terminalreporter):
    if os.environ.get("FASTALS_HUNT") and outcomes:
        terminalreporter.section("calls of the fault hunt, by outcome")
        for outcome, count in sorted(outcomes.items()):
            terminalreporter.write_line(f"{outcome} {count}")


@pytest.fixture
def ratings() -> sp.csr_array:
    """Integer ratings 1 .. 5, (30, 22), a fifth of the pairs; row 3 and column 4 are empty."""
    random = np.random.default_rng(0)
    dense = random.integers(1, 6, (30, 22)) * (random.random((30, 22)) < 0.2)
    dense[3], dense[:, 4] = 0, 0
    return sp.csr_array(dense.astype(np.float64))
