"""The command line and the library on real data, where it is at hand."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import io, sparse

from fastals import ImplicitALS
from fastals.evaluation import ranking_metrics_at_k

pytest.importorskip("typer")
from typer.testing import CliRunner

from fastals.cli.app import app

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.slow


def load(name):
    path = DATA / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{name} is not at hand")
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def fit(path, tmp_path, *options):
    """Fit by the command line, and load the model it saved."""
    model = tmp_path / "model.fastals"
    arguments = ["fit", str(path), "--output", str(model), "--seed", "0", *map(str, options)]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "150"})
    assert result.exit_code == 0, result.output
    return ImplicitALS.load(model), result.stdout


def sound(model):
    """The factors are finite and the loss never rose."""
    losses = np.array(model.loss_history)
    return (
        np.isfinite(model.user_factors).all()
        and np.isfinite(model.item_factors).all()
        and (np.diff(losses) <= 1e-4 * losses[:-1]).all()
    )


def test_goodbooks_finds_the_other_volumes_of_a_series(tmp_path):
    data = load("goodbooks-to-read")
    path = tmp_path / "to_read.csv"
    table = np.column_stack((data["user_orig"][data["user"]], data["item"] + 1))
    np.savetxt(path, table, fmt="%d", delimiter=",", header="user_id,book_id", comments="")
    model, output = fit(path, tmp_path, "--factors", 64, "--iterations", 10)
    assert sound(model)
    assert "912,705 (" in output
    assert "48,871" in output
    titles = data["item_title"]
    for series in ("Harry Potter", "The Hunger Games", "Twilight"):
        volumes = [at for at, title in enumerate(titles[:1000]) if re.search(rf"\({series},? #\d\)", title)]
        first = next(at for at in volumes if titles[at].endswith("#1)"))
        ids, _ = model.similar_items(model.interactions.item_index(first + 1), N=11)
        near = titles[model.interactions.item_ids[ids] - 1].tolist()
        found = [at for at in volumes if at != first and titles[at] in near]
        assert len(found) >= min(2, len(volumes) - 1), (series, near)


def test_gowalla_beats_popularity_threefold(tmp_path):
    data = load("gowalla")
    path = tmp_path / "gowalla.mtx"
    shape = (29858, 40981)
    train, test = (
        sparse.coo_array((np.ones(data[f"{part}_user"].size), (data[f"{part}_user"], data[f"{part}_item"])), shape)
        for part in ("train", "test")
    )
    io.mmwrite(path, train, field="integer")
    options = ("--factors", 64, "--iterations", 10, "--objective", "rendle", "--alpha", 1)
    options += ("--unobserved-weight", 0.02, "--regularization", 0.003, "--regularization-exponent", 1)
    model, _ = fit(path, tmp_path, *options)
    assert sound(model)
    got = ranking_metrics_at_k(model, train, test, K=20)
    assert got["recall"] >= 3 * 0.0416


def test_lastfm_play_counts(tmp_path):
    data = load("lastfm-2k")
    path = tmp_path / "user_artists.dat"
    table = np.column_stack((data["user_orig"][data["user"]], data["item_orig"][data["item"]], data["value"]))
    np.savetxt(path, table, fmt="%d", delimiter="\t", header="userID\tartistID\tweight", comments="")
    model, output = fit(path, tmp_path, "--alpha", 40, "--regularization", 0.01, "--iterations", 5)
    assert "1 to 352,698" in output
    assert sound(model)
    users, items = model.interactions.user_index(2), model.interactions.item_index(data["item_orig"][:3])
    assert np.isfinite(model.predict(np.full(3, users), items)).all()


def test_movielens_neighbours_share_a_genre(tmp_path):
    data = load("ml-100k")
    path = tmp_path / "u.data"
    table = np.column_stack((data["user"] + 1, data["item"] + 1, data["value"], data["timestamp"]))
    np.savetxt(path, table, fmt="%d", delimiter="\t")
    model, output = fit(path, tmp_path, "--factors", 32, "--iterations", 10)
    assert sound(model)
    assert "values number 3" in output
    assert "943" in output
    genres = data["item_genres"][model.interactions.item_ids - 1].astype(bool)
    popular = np.argsort(-np.bincount(data["item"]))[:200]
    rows = model.interactions.item_index(popular + 1)
    ids, _ = model.similar_items(rows, N=6)
    overlap = (genres[ids[:, 1:]] & genres[rows][:, None, :]).any(-1).mean()
    chance = (genres[rows][:, None, :] & genres[None]).any(-1).mean()
    assert overlap > 1.3 * chance
