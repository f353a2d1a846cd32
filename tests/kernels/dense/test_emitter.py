"""What the emitter takes from a target's features."""

import pytest

from fastals.kernels.dense.emitter import vector_bits


@pytest.mark.parametrize(
    ("features", "bits"),
    [
        ("+sse2,+avx2,+fma,+avx512f", 512),
        ("+sse2,+avx2,+fma,-avx512f", 256),
        ("+sse2,+avx2,-fma", 128),
        ("+sse2", 128),
        ("+neon", 128),
        ("", 128),
    ],
)
def test_vector_bits(features, bits):
    assert vector_bits(features) == bits
