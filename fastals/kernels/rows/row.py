"""What all ways of solving the rows of a half-sweep share: a row's entries, its scratch, and what is reported of it."""

import numpy as np

from fastals.kernels.dense.memory import aligned_empty
from fastals.kernels.dense.rotation import CHUNK, PANEL
from fastals.kernels.dense.tiles import PAD, TILE_ROWS
from fastals.kernels.jit import compiled, compiled_bare

# What a range of rows reports, one column each.
LOSS, STEPS, ITERATED, FALLBACKS, SINGULAR, FAILED, REPORTS = 0, 1, 2, 3, 4, 5, 6
# What is to become of a row: nothing more, direct solution in the model's type, direct solution in float64.
SOLVED, DIRECT, DOUBLE = 0, 1, 2


@compiled_bare
def _weigh_entries(first, last, extra, preference, offset, weights, targets):
    """Write c - c0 and c phi of the entries first .. last to ``weights`` and ``targets`` in place.

    Arrays of one element stand for equal values throughout. Returns sum_t target_t phi_t, the row's constant in the
    loss.
    """
    one_extra, one_preference = extra.shape[0] == 1, preference.shape[0] == 1
    constant = 0.0
    for t in range(first, last):
        weight = extra[0 if one_extra else t]
        phi = preference[0 if one_preference else t]
        weights[t - first] = weight
        targets[t - first] = (weight + offset) * phi
        constant += np.float64((weight + offset) * phi) * phi
    return constant


@compiled_bare
def gather_row(rows, u, offset, one_constant, padded, values):
    """Copy row u's indices, weights and targets to scratch, up to a multiple of four, the last ones weighing nothing.

    ``padded`` and ``values`` are written in place; see ``scratch_for``. Returns the row's constant in the loss and its
    largest weight.
    """
    indptr, indices, extra, preference = rows
    start, count = indptr[u], indptr[u + 1] - indptr[u]
    for t in range(count):
        padded[t] = indices[start + t]
    largest = offset * 0
    if extra.shape[0] == 1 and preference.shape[0] == 1:
        constant, largest = count * one_constant, extra[0]
        target = (extra[0] + offset) * preference[0]
        for t in range(count):
            values[0, t] = largest
            values[1, t] = target
    else:
        constant = _weigh_entries(start, start + count, extra, preference, offset, values[0], values[1])
        for t in range(count):
            largest = max(largest, values[0, t])
    for t in range(count, (count + 3) // 4 * 4):
        padded[t] = padded[0]
        values[0, t] = 0
        values[1, t] = 0
    return constant, largest


@compiled_bare
def accept(x, loss, report):
    """Add a solved row's loss to ``report``; a solution that is not finite is counted there and set to zero."""
    finite = True
    for j in range(x.shape[0]):
        finite &= np.isfinite(x[j])
    if not finite:
        report[FAILED] += 1
        x[:] = 0
    report[LOSS] += loss


@compiled
def scratch_for(width, longest, rows, offset, like):
    """Scratch of a thread for rows of up to ``longest`` entries.

    Returns
    -------
    tuple
        (8, width + 32) vectors, indices and values of a row, the constant of an entry in the loss where all are equal,
        (CHUNK, width) solutions before and (8, PANEL) after rotation.
    """
    indices, extra, preference = rows[1], rows[2], rows[3]
    padded = np.zeros(longest + 4, indices.dtype)
    # To Numba a constant is a type of its own, and so would be the compilations of what it is passed to.
    two, tile_rows, chunk, panel = np.int64(2), np.int64(TILE_ROWS), np.int64(CHUNK), np.int64(PANEL)
    values, one_constant = aligned_empty(two, longest + 4, like), np.zeros(1)
    if extra.shape[0] == 1 and preference.shape[0] == 1:
        one_constant[0] = np.float64((extra[0] + offset) * preference[0]) * preference[0]
    return (
        aligned_empty(tile_rows, width + 2 * PAD, like),
        padded,
        values,
        one_constant,
        aligned_empty(chunk, width, like),
        aligned_empty(tile_rows, panel, like),
    )
