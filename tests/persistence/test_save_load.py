"""What is saved or pickled comes back; what contradicts itself is neither read nor written."""

import pickle
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp
from models import assert_same, small

from fastals import ImplicitALS
from fastals.persistence.model_file import read_model_file, write_model_file
from fastals.tables.interactions import Interactions

MATRIX = sp.csr_array(np.array([[1.0, 0, 2], [0, 3, 0], [4, 0, 5], [0, 0, 1]]))


def fitted(**parameters) -> ImplicitALS:
    return ImplicitALS(**{"factors": 2, "iterations": 2, "random_state": 0, **parameters}).fit(MATRIX)


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "model.fastals"
    fitted().save(target, interactions=Interactions(MATRIX, ["a", "b", "c", "d"], [10, 20, 30]))
    return target


def set_to(value, *, dtype=None):
    def change(array):
        array = array.astype(dtype or array.dtype)
        array.flat[-1] = value
        return array

    return change


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("user_factors", set_to(np.nan), "user_factors must be finite"),
        ("item_factors", set_to(np.inf), "item_factors must be finite"),
        ("item_factors", set_to(-3e38), "item_factors must be finite and below 1.3e"),
        ("item_factors", lambda a: a[:, :1], r"item_factors must be float32 of shape \(3, 2\)"),
        ("user_factors", None, "it lacks 'user_factors'"),
        ("loss_history", set_to(np.nan), "loss_history must be a finite float64 vector"),
        ("loss_history", lambda a: a[None], "loss_history must be a finite float64 vector"),
        ("loss_history", lambda a: a.astype(str), "loss_history must be a finite float64 vector"),
        ("loss_history", lambda a: a + 1j, "loss_history must be a finite float64 vector"),
        ("item_factors", lambda a: a[:-1], r"item_factors must be float32 of shape \(3, 2\)"),
        ("user_factors", lambda a: a.astype(np.float64), r"user_factors must be float32 of shape \(4, 2\)"),
        ("loss_history", None, "it lacks 'loss_history'"),
        ("indices", lambda a: a[::-1].copy(), "user_items is not sorted"),
        ("indices", lambda a: a.astype(np.int64), "indptr, indices and data must be int64, int32"),
        ("indptr", lambda a: a[::-1].copy(), "indptr does not rise"),
        ("data", lambda a: a[:3], "data has neither one value nor one for each index"),
        ("data", lambda a: a * 0, "user_items is not sorted, or has duplicates or zeros"),
        ("indices", set_to(3), "indices outside of 0 .. 2"),
        ("indices", set_to(-1), "indices outside of 0 .. 2"),
        ("indptr", set_to(5), "indptr does not rise"),
        ("indptr", lambda a: a[1:], "indptr does not rise"),
        ("data", set_to(np.nan), "user_items must be finite"),
        ("user_ids", lambda a: a[:3], r"user_ids must have one entry for each of 4; got shape \(3,\)"),
        ("item_ids", lambda a: a[None], r"item_ids must have one entry for each of 3; got shape \(1, 3\)"),
        ("item_ids", set_to(10), "item_ids holds 10 more than once"),
        ("item_ids", set_to(np.nan, dtype=float), "item_ids has a missing id"),
        ("item_ids", set_to(1e300, dtype=float), "item_ids are floats"),
        ("item_ids", lambda a: a + 1j, "item_ids must be integers or text"),
        ("item_ids", None, "it lacks 'item_ids'"),
        ("user_ids", None, "it lacks 'user_ids'"),
    ],
)
def test_arrays(path, name, change, message, mmap):
    header, arrays = read_model_file(path)
    if change is None:
        del arrays[name]
    else:
        arrays[name] = change(arrays[name])
    write_model_file(path, header, arrays)

    with pytest.raises(ValueError, match=rf"cannot read '.*model\.fastals': no valid model: .*{message}"):
        ImplicitALS.load(path, mmap=mmap)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("name", ["data", "loss_history"])
def test_damage_is_found_in_what_is_mapped(path, name, mmap):
    """Only factors go by without their checksum being compared, which would mean reading all of a large file."""
    content = bytearray(path.read_bytes())
    _, arrays = read_model_file(path)
    content[content.index(arrays[name].tobytes()) + 1] ^= 1
    path.write_bytes(content)

    with pytest.raises(ValueError, match="truncated or damaged"):
        ImplicitALS.load(path, mmap=mmap)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": -1.0}, "alpha must be finite"),
        ({"alpha": 10**400}, "alpha must be finite"),
        ({"alpha": "x"}, "alpha must be a real number"),
        ({"shape": []}, "shape must be two integers"),
        ({"shape": [4, 3, 1]}, "shape must be two integers"),
        ({"shape": [4.0, 3.0]}, "shape must be two integers"),
        ({"shape": [4, 10**30]}, "shape must be below 2"),
        ({"report": None}, "not iterable"),
        ({"report": {"cg_steps": "x"}}, "cg_steps must be a real number"),
        ({"parameters": []}, "must be a mapping"),
        ({"parameters": {"dtype": "f4,("}}, ""),
        ({"parameters": {"dtype": "O"}}, "dtype must be float32 or float64"),
        ({"parameters": {"factors": 10**30}}, "user_factors must be float32 of shape"),
        ({"parameters": {"regularization": [[1], 2]}}, ""),
        ({"parameters": {"alpha": 10**400}}, "alpha must be finite"),
        ({"parameters": {"factors": 7}}, "user_factors must be float32 of shape"),
        ({"parameters": {"factors": -2}}, "factors must be"),
        ({"parameters": {"solver": "lu"}}, "solver must be one of"),
        ({"parameters": {"depth": 3}}, "depth"),
        ({"parameters": None}, "must be a mapping"),
        ({"shape": [4, 5]}, "item_factors must be float32 of shape"),
        ({"shape": [-1, 3]}, "indptr"),
        ({"shape": "4x3"}, "shape must be two integers"),
        ({"fitted_shape": [5, 3]}, r"fitted_shape must be within shape, \(4, 3\); got \(5, 3\)"),
        ({"fitted_shape": None}, "shape must be two integers"),
    ],
)
def test_header(path, changes, message):
    header, arrays = read_model_file(path)
    for name, value in changes.items():  # of parameters the others stay
        header[name] = {**header[name], **value} if isinstance(value, dict) else value
    write_model_file(path, header, arrays)

    with pytest.raises(ValueError, match=rf"cannot read '.*model\.fastals': no valid model: .*{message}") as caught:
        ImplicitALS.load(path)
    assert len(str(caught.value)) < 500


def test_cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cannot read '.*model.fastals'"):
        ImplicitALS.load(path)


def test_of_something_else(path):
    path.write_text("user,item\n1,2\n")
    with pytest.raises(ValueError, match=r"cannot read '.*model.fastals': it is"):
        ImplicitALS.load(path)


def test_absent(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ImplicitALS.load(tmp_path / "nowhere")


def test_of_a_later_version(path, tmp_path):
    later = tmp_path / "later.fastals"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(later, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(b'"format_version": 1', b'"format_version": 2'))
    with pytest.raises(ValueError, match="format version"):
        ImplicitALS.load(later)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"factors": 3}, r"user_factors must be float32 of shape \(4, 3\)"),
        ({"dtype": "float64"}, r"user_factors must be float64 of shape \(4, 2\)"),
        ({"regularization": -1}, "regularization"),
        ({"solver": "sgd"}, "solver"),
    ],
)
def test_parameters_that_contradict_the_factors_are_not_saved(tmp_path, parameters, message):
    model = fitted().set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_factors_of_other_sizes_are_not_saved(tmp_path):
    model = fitted()
    model.item_factors = np.ones((5, 2))
    with pytest.raises(ValueError, match=r"item_factors must be float32 of shape \(3, 2\)"):
        model.save(tmp_path / "model")


def test_values_beyond_those_of_interactions_are_not_saved_with_them(tmp_path):
    huge = MATRIX * 1e39
    model = ImplicitALS(2, iterations=1, dtype="float64", random_state=0).fit(huge)
    model.save(tmp_path / "alone")
    assert ImplicitALS.load(tmp_path / "alone").user_items_.max() == huge.max()
    with pytest.raises(ValueError, match="interactions hold float32"):
        model.save(tmp_path / "model", interactions=Interactions(MATRIX))


def test_pickle_round_trip(ratings):
    model = small(regularization=(0.1, 0.2)).fit(ratings)
    model.recommend(0)

    got = pickle.loads(pickle.dumps(model))

    assert got.get_params() == model.get_params()
    assert_same(got, model)
    np.testing.assert_array_equal(got.recommend(0)[0], model.recommend(0)[0])
    assert pickle.loads(pickle.dumps(small())).get_params() == small().get_params()


def test_save_and_load(ratings, tmp_path):
    model = small(regularization=(0.1, 0.2), random_state=np.random.default_rng(0)).fit(ratings)
    model.save(tmp_path / "model.fastals")

    got = ImplicitALS.load(tmp_path / "model.fastals")

    assert_same(got, model)
    assert got.get_params() == {**model.get_params(), "random_state": None}
    np.testing.assert_array_equal(got.user_items_.toarray(), ratings.toarray())
    assert got.solver_report_ == model.solver_report_


@pytest.mark.parametrize("way", ["pickle", "file"])
def test_rows_as_wide_as_the_fitted_matrix_serve_a_grown_model(tmp_path, way):
    model = fitted()
    model.partial_fit_items([3], sp.csr_array(np.eye(1, 4)))
    expected = model.recalculate_user(1, MATRIX[[1]])

    if way == "pickle":
        again = pickle.loads(pickle.dumps(model))
    else:
        model.save(tmp_path / "grown.fastals")
        again = ImplicitALS.load(tmp_path / "grown.fastals")

    np.testing.assert_array_equal(again.recalculate_user(1, MATRIX[[1]]), expected)
    with pytest.raises(ValueError, match=r"user_items must have shape \(1, 4\); got \(1, 2\)"):
        again.recalculate_user(1, MATRIX[[1]][:, :2])


def test_files_of_earlier_versions_do_not_say_what_was_fitted(path):
    header, arrays = read_model_file(path)
    del header["fitted_shape"]
    write_model_file(path, header, arrays)
    assert ImplicitALS.load(path)._state.history.fitted_shape == (4, 3)
