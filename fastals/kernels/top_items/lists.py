"""The best n of one query, and what it may not return.

They are a binary heap with the worst at the root; (score, id) precedes (score', id') if score > score', or if they are
equal and id < id'.

Common arguments: ``seen`` int32, the sorted ids that may not be returned, and ``marks``, what ``set_marks`` has made of
them; ``scores`` and ``ids`` (n,), the heap, and in the end the list, best first.
"""

import numpy as np

from fastals.kernels.jit import compiled

NO_ITEM = np.int32(2**31 - 1)  # id of an empty place in a heap: behind every item
SORTED_SIZE = 64  # up to here a sorted list takes an item faster than a heap: 11 against 22 ns at 10, 32 both at 100
MARK_WORDS = 4  # 256 bits: with 27 seen items a query, one search in ten for an item that is not among them remains


@compiled
def _mark(item):
    """Word and bit of an item in a set of marks: one byte of a multiplicative hash."""
    place = ((np.int64(item) * 2654435761) >> 24) & 255
    return place >> 6, np.int64(1) << (place & 63)


@compiled
def set_marks(indices, marks):
    """Set in ``marks`` (MARK_WORDS int64, in place) the mark of each of ``indices``."""
    marks[:] = 0
    for item in indices:
        word, bit = _mark(item)
        marks[word] |= bit


@compiled
def contains(indices, marks, item):
    """Whether ``item`` is among the sorted ``indices``; most others are told by their mark alone."""
    word, bit = _mark(item)
    if not marks[word] & bit:
        return False
    start, length = 0, indices.shape[0]
    while length > 1:
        half = length // 2
        start += half if indices[start + half] <= item else 0
        length -= half
    return indices[start] == item


@compiled
def replace_worst(scores, ids, score, item):
    """Replace the root of a heap; short ones are kept sorted (a rising array is a heap), the faster way there."""
    size = scores.shape[0]
    if size > SORTED_SIZE:
        _sift_down(scores, ids, size, score, item)
        return
    place = 0
    while place + 1 < size and (scores[place + 1] < score or (scores[place + 1] == score and ids[place + 1] > item)):
        scores[place] = scores[place + 1]
        ids[place] = ids[place + 1]
        place += 1
    scores[place] = score
    ids[place] = item


@compiled
def _sift_down(scores, ids, size, score, item):
    """Put (score, item) at the root of the heap of the first ``size`` entries and let it sink."""
    place, child = 0, 1
    while child < size:
        # Which of two children is the worse one is a coin toss: taken by arithmetic, except among equals.
        right = min(child + 1, size - 1)
        if scores[right] == scores[child]:
            worse = ids[right] > ids[child]
        else:
            worse = scores[right] < scores[child]
        child += int(worse)
        if scores[child] > score or (scores[child] == score and ids[child] < item):
            break
        scores[place] = scores[child]
        ids[place] = ids[child]
        place = child
        child = 2 * place + 1
    scores[place] = score
    ids[place] = item


@compiled
def sort_heap(scores, ids):
    """Heap to best first; empty places go to the tail as id -1 and score NaN. In place."""
    for last in range(scores.shape[0] - 1, 0, -1):
        score, item = scores[last], ids[last]
        scores[last] = scores[0]
        ids[last] = ids[0]
        _sift_down(scores, ids, last, score, item)
    for j in range(scores.shape[0] - 1, -1, -1):
        if ids[j] != NO_ITEM:
            break
        ids[j] = -1
        scores[j] = np.nan


@compiled
def fill_lowest(n_items, allowed, seen, scores, ids):
    """The list of a zero query: every score is zero, so the lowest ids that are not filtered."""
    size, t = 0, 0
    for item in range(n_items):
        if size == scores.shape[0]:
            break
        while t < seen.shape[0] and seen[t] < item:
            t += 1
        if (allowed.shape[0] == 0 or allowed[item]) and not (t < seen.shape[0] and seen[t] == item):
            scores[size] = 0
            ids[size] = item
            size += 1
    scores[size:] = np.nan
    ids[size:] = -1
