"""What the fault hunt shares: calls that must end well or in a clear error, snapshots, and arguments of every kind.

The property is always the same. A call returns finite results, or raises TypeError, ValueError or FloatingPointError
from the package's own code with a message that names the argument; in both cases what the caller passed is unchanged,
and after an error so is the model. A value comes with a flag that tells whether it is to be accepted.
"""

import collections
import inspect
import os
import pathlib
import re
import tempfile
import traceback
import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse as sp
from hypothesis import settings
from hypothesis import strategies as st

import fastals
from fastals import ImplicitALS

PACKAGE = str(pathlib.Path(fastals.__file__).parent)
METHODS = [method for name, method in inspect.getmembers(ImplicitALS, inspect.isfunction) if name[0] != "_"]
NAMES = {name for call in [ImplicitALS.__init__, *METHODS] for name in inspect.signature(call).parameters} - {"self"}
NAMED = re.compile(rf"\b({'|'.join(sorted(NAMES | {'call fit first', 'factors'}))})\b")
LONG = bool(os.environ.get("FASTALS_HUNT"))
more = settings() if LONG else settings(max_examples=150)  # cases are cheap
COUNTS: collections.Counter[str] = collections.Counter()  # printed at the end of a long hunt


def attempt(kind: str, call: Any, *arguments: Any, **named: Any) -> tuple[Any, Exception | None]:
    """Result and clear error (one of them None) of a call that leaves its arguments alone; fails on anything else."""
    before = content((arguments, named))
    result, error = None, None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* rows are underdetermined", RuntimeWarning)
        warnings.filterwarnings("ignore", "tol=.* is below .*, what conjugate gradients reach", RuntimeWarning)
        warnings.filterwarnings("ignore", "the model has grown beyond its id maps", UserWarning)
        try:
            result = call(*arguments, **named)
        except (TypeError, ValueError, FloatingPointError) as raised:
            error = raised
    if error is not None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        assert place.filename.startswith(PACKAGE), f"not from the package's own checks: {place}: {error!r}"
        assert NAMED.search(str(error)), f"names no argument: {error!r}"
    COUNTS[f"{kind}: {'fine' if error is None else type(error).__name__}"] += 1
    assert content((arguments, named)) == before, "an argument has been changed"
    return result, error


def content(value: Any) -> Any:
    """Everything that a caller could see changed: bytes, types and flags of arrays, parts of sparse matrices."""
    if isinstance(value, np.ndarray):
        parts = repr(value) if value.dtype == object else value.tobytes()
        return type(value), value.dtype, value.shape, value.strides, value.flags.writeable, parts
    if sp.issparse(value):
        held = ("data", "indices", "indptr", "row", "col", "offsets", "rows")
        parts = {name: content(getattr(value, name)) for name in held if hasattr(value, name)}
        return type(value), value.shape, parts or sorted(value.items())
    if isinstance(value, (tuple, list)):
        return type(value), [content(part) for part in value]
    if isinstance(value, dict):
        return {name: content(part) for name, part in value.items()}
    return repr(value) if isinstance(value, (str, bytes, float, int, complex, type(None))) else id(value)


def state(model: ImplicitALS) -> Any:
    """Everything that makes up a model, caches apart."""
    held = {name: value for name, value in model.__dict__.items() if name != "_cache"}
    if "_rows" in held:
        held["_rows"] = tuple(held["_rows"])
    return content(held)


def check_finite(model: ImplicitALS) -> None:
    """Factors are finite, of the model's shape and read-only; losses are finite floats."""
    P, Q = model.user_factors, model.item_factors
    for factors in (P, Q):
        assert np.isfinite(factors).all()
        assert not factors.flags.writeable
    assert all(type(loss) is float and np.isfinite(loss) for loss in model.loss_history)
    assert np.isfinite(model.alpha_)


def check_lists(got: Any, scores: np.ndarray, allowed: np.ndarray, N: int, scalar: bool) -> None:
    """Top lists against dense float64 scores (n, m), up to their rounding, and the Boolean (n, m) of allowed ids."""
    ids, values = (np.atleast_2d(part) for part in got)
    assert ids.dtype == np.int32
    assert got[0].ndim == got[1].ndim == (1 if scalar else 2)
    assert ids.shape == values.shape
    assert len(ids) == len(scores)
    for row in range(len(ids)):
        count = min(N, int(allowed[row].sum()))
        best, value = ids[row][:count], values[row][:count]
        assert len(ids[row]) == (count if scalar else N)
        assert (ids[row][count:] == -1).all()
        assert np.isnan(values[row][count:]).all()
        assert allowed[row][best].all()
        assert len(set(best.tolist())) == count
        assert np.isfinite(value).all()
        assert (np.diff(value) <= 0).all()
        error = 1e-4 if values.dtype == np.float32 else 1e-10
        scale = np.abs(scores[row]).max(initial=0) + float(np.finfo(values.dtype).tiny)
        np.testing.assert_allclose(value, scores[row][best], rtol=0, atol=error * scale)
        left = allowed[row].copy()
        left[best] = False
        if left.any() and count:
            assert scores[row][left].max() <= value[-1] + error * scale


JUNK: list[Any] = [
    None, float("nan"), float("inf"), -1, -1.5, 0, "x", b"x", True, np.bool_(False), 1j, [], {}, (1,), object(), len,
    10**30, -(10**30), 2**31, 2**63, Decimal("1.5"), Fraction(1, 3), np.float16(2), np.longdouble("1e-4000"),
    np.array(1.0), np.array([1.0, 2.0]), np.array([[1]]), np.array(["a"]), np.datetime64(0, "s"), slice(3), type, 1e300,
    5e-324, [[0], [1, 2]], np.ma.masked_array([1, 2], [0, 1]), sp.csr_array((2, 2)), [0, "a"], [None], np.array([]),
    np.array([0.5]),
]  # fmt: skip

PARAMETERS: dict[str, list[Any]] = {
    "factors": [1, 2, 2, 3, 3, 5, 8, np.int8(4), 16, 17, 33],
    "regularization": [0, 0.0, 1e-12, 1e-3, 0.5, 10, 1e8, (0, 1), (0.5, 1e-6), np.float32(0.25), [1, 2]],
    "alpha": ["auto", 1e-8, 1e-4, 0.3, 1.0, 1, 40, 1e3, 1e8, np.float64(2)],
    "iterations": [0, 1, 1, 2, 3, 6],
    "unobserved_weight": [0, 1e-8, 0.1, 1, 1.0, 1e4],
    "unobserved_exponent": ["auto", "auto", 0, 0.5, (0.3, 1), (-0.5, 0), np.float32(0.25), [0.5, 0.5]],
    "regularization_exponent": [0, 0.5, 1, 2],
    "confidence": ["linear", "log", "raw"],
    "epsilon": [1e-8, 0.1, 1, 1e8],
    "objective": ["hu", "rendle"],
    "solver": ["cg", "cholesky"],
    "tol": [0, 1e-12, 1e-6, 1e-3, 0.1, 10.0],
    "max_cg_steps": [1, 3, 50, 1000],
    "dtype": ["float32", "float64", np.float32, np.dtype("f8")],
    "num_threads": [1, 1, 1, 2, None],
    "random_state": [0, 1, np.uint8(3)],
    "warm_start": [False],
    "acceleration": ["auto", True, False],
}


@st.composite
def parameters(draw: Any, wide: bool = True) -> tuple[dict[str, Any], bool]:
    """Parameters of a model, one in eight with something that may be none, and whether they are to be accepted."""
    chosen = {name: draw(st.sampled_from(values)) for name, values in PARAMETERS.items()}
    if wide and not draw(st.integers(0, 40)):
        chosen |= {"factors": draw(st.sampled_from([64, 100, 128, 256, 512])), "iterations": 1}
    if draw(st.integers(0, 7)):
        return chosen, True
    chosen[draw(st.sampled_from([name for name in PARAMETERS if name != "warm_start"]))] = draw(st.sampled_from(JUNK))
    return chosen, False


def keep_short(chosen: dict[str, Any]) -> dict[str, Any]:
    """Parameters without the numbers of sweeps that would take years."""
    if isinstance(chosen["iterations"], int) and chosen["iterations"] > 50:
        chosen["iterations"] = 2
    return chosen


FORMATS = ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"]
DTYPES = ["f8", "f8", "f4", "f4", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "g"]
FOREIGN = ["f2", ">f8", ">f4", ">i4", "F", "D", "O", "U9", "M8[s]"]  # SciPy itself refuses these, or puts up with them
SCALES = {"tiny": 1e-30, "huge": 1e30, "denormal": 1e-310, "float32 denormal": 1e-41, "largest": 1e307}
KINDS = ["plain"] * 6 + ["stars", "counts", "equal", *SCALES, "wide", "not finite"]


def values_of(kind: str, random: np.random.Generator, size: int) -> np.ndarray:
    """Positive float64 values."""
    if kind in SCALES:
        return random.uniform(0.5, 2, size) * SCALES[kind]
    if kind == "wide":
        return 10 ** random.uniform(-40, 40, size)
    if kind == "not finite":
        return random.choice([1.0, np.nan, np.inf, -np.inf], size)
    return {
        "plain": random.uniform(0.1, 3, size),
        "stars": random.integers(1, 6, size).astype(float),
        "counts": np.ceil(random.pareto(0.4, size)).clip(1, 1e7),
        "equal": np.full(size, 2.0),
    }[kind]


class SubclassOfArray(sp.csr_array):
    pass


class SubclassOfMatrix(sp.csr_matrix):
    pass


FOLDER = tempfile.TemporaryDirectory(prefix="fastals-hunt-")


def mapped(array: np.ndarray) -> np.ndarray:
    """The array as a read-only memory map."""
    if not array.size:
        return locked(array)
    handle, path = tempfile.mkstemp(dir=FOLDER.name)
    os.close(handle)
    array.tofile(path)
    got = np.memmap(path, array.dtype, "r", shape=array.shape)
    os.unlink(path)
    return got


def strided(array: np.ndarray) -> np.ndarray:
    """The array as every second element of another."""
    spread = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    spread[..., ::2] = array
    return spread[..., ::2]


def locked(array: np.ndarray) -> np.ndarray:
    got = array.copy()
    got.flags.writeable = False
    return got


def unaligned(array: np.ndarray) -> np.ndarray:
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    got = memory.view(array.dtype).reshape(array.shape)
    got[:] = array
    return got


LAYOUTS = {"read-only": locked, "mapped": mapped, "strided": strided, "unaligned": unaligned}


def duplicated(matrix: sp.coo_array) -> sp.coo_array:
    """The same matrix with every entry as two halves, in another order."""
    row, column, order = matrix.row, matrix.col, np.arange(2 * matrix.nnz)[::-1]
    half = matrix.data / 2
    parts = np.concatenate((half, matrix.data - half)), *(np.concatenate((index, index)) for index in (row, column))
    data, row, column = (part[order] for part in parts)
    return sp.coo_array((data, (row, column)), matrix.shape)


def dressed(draw: Any, coo: sp.coo_array, dtype: str) -> Any:
    """The matrix in any of SciPy's forms, with any widths and layouts of the arrays inside."""
    form = draw(st.sampled_from([*FORMATS, "csr", "csr"]))
    if (form == "dia" and max(coo.shape) > 9) or (form in ("lil", "dok") and dtype in FOREIGN):
        form = "csr"
    if coo.dtype.kind == "f" and dtype not in FOREIGN and draw(st.booleans()):
        coo = duplicated(coo)  # the other forms sum them up at once
    if form in ("csr", "csc") and draw(st.booleans()):
        major, minor = (coo.row, coo.col) if form == "csr" else (coo.col, coo.row)
        order = np.argsort(major, kind="stable")
        indptr = np.searchsorted(major[order], np.arange(coo.shape[form == "csc"] + 1))
        make = sp.csr_array if form == "csr" else sp.csc_array
        matrix: Any = make((coo.data[order], minor[order], indptr), coo.shape)
    else:
        matrix = coo.copy().asformat(form)
    if form not in ("lil", "dok") and draw(st.booleans()):
        change = LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))]
        matrix.data = change(matrix.data)
        if form in ("csr", "csc", "bsr"):
            wide = draw(st.sampled_from([np.int32, np.int64]))
            matrix.indices, matrix.indptr = change(matrix.indices.astype(wide)), change(matrix.indptr.astype(wide))
    if dtype in FOREIGN:
        matrix.data = matrix.data.astype(dtype)
    elif form != "dia" and draw(st.booleans()):
        matrix = getattr(sp, f"{form}_matrix")(matrix)
    if form == "csr":
        matrix = draw(st.sampled_from([type(matrix), SubclassOfArray, SubclassOfMatrix]))(matrix)
    return matrix


@st.composite
def matrices(draw: Any, shape: tuple[int, int] | None = None, plain: bool = False) -> tuple[Any, np.ndarray, bool]:
    """Interactions in any form, their dense float64 values, and whether they are to be accepted."""
    if shape is None:
        sides = st.sampled_from([1, 1, 2, 3, 4, 5, 7, 9])
        shape = draw(st.one_of(st.tuples(sides, sides), st.sampled_from([(1, 40), (40, 1), (3, 200)])))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = "plain" if plain else draw(st.sampled_from(KINDS))
    dtype = draw(st.sampled_from([*DTYPES, *([] if plain else [draw(st.sampled_from(FOREIGN))])]))
    stored = random.random(shape) < draw(st.sampled_from([0.15, 0.4, 0.9]))
    if draw(st.booleans()):
        stored[random.integers(shape[0])] = True
    values = values_of(kind, random, int(stored.sum()))
    if draw(st.booleans()):
        changed = random.random(values.size) < 0.3
        values[changed] = -values[changed] if random.random() < 0.5 else 0
    usual = "f8" if dtype in FOREIGN else dtype
    if np.dtype(usual).kind in "iub":
        values = np.nan_to_num(values).clip(0 if usual[0] in "u?" else -100, 100).round()
    with np.errstate(all="ignore"):
        coo = sp.coo_array((values.astype(usual), np.nonzero(stored)), shape)
        matrix = dressed(draw, coo, dtype)
        dense = np.zeros(shape)
        real = dtype in FOREIGN and np.dtype(dtype).kind in "if"
        dense[stored] = coo.data.astype(dtype if real else usual).astype(np.float64)
    accepted = bool(dtype in DTYPES and kind in ("plain", "stars", "counts", "equal") and dense.any())
    return matrix, dense, accepted
