"""What several test files share: a random matrix with empty rows and columns, and interactions for hypothesis."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, settings

# The first example may compile a kernel.
settings.register_profile(
    "fastals", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("fastals")


@pytest.fixture
def ratings() -> sp.csr_array:
    """Integer ratings 1 .. 5, (30, 22), a fifth of the pairs; row 3 and column 4 are empty."""
    random = np.random.default_rng(0)
    dense = random.integers(1, 6, (30, 22)) * (random.random((30, 22)) < 0.2)
    dense[3], dense[:, 4] = 0, 0
    return sp.csr_array(dense.astype(np.float64))
