import builtins

import numpy as np
import pytest
import scipy.sparse as sp
from naive_metrics import BruteForce

from fastals import ImplicitALS
from fastals.callbacks import LossParts, ValidationCallback
from fastals.evaluation import ranking_metrics_at_k, train_test_split

N_ITEMS = 12
TRAIN = sp.csr_array((np.arange(8)[:, None] + np.arange(N_ITEMS)) % 4 == 0, dtype=np.float64)
VALIDATION = sp.csr_array((np.arange(8)[:, None] * 3 + np.arange(N_ITEMS)) % 5 == 1, dtype=np.float64)
# How far the scores lean towards the validation items: best at the fourth sweep, a plateau after the sixth.
LEANING = [0.0, 0.2, 0.5, 1.0, 0.3, 0.1, 0.1, 0.1]


class Scripted(BruteForce):
    """A model whose factors at each sweep, and so its validation metric, are laid down beforehand."""

    def __init__(self, iterations=8):
        self.iterations = iterations

    def factors_of(self, sweep):
        noise = np.random.default_rng(0).random((8, N_ITEMS))
        return noise + LEANING[sweep - 1] * VALIDATION.toarray(), np.eye(N_ITEMS)

    def fit(self, user_items, *, callback=None, show_progress=False):
        assert user_items is TRAIN
        self.loss_history = []
        # The buffers are written in place from sweep to sweep, as a solver would.
        self.user_factors, self.item_factors = np.empty((8, N_ITEMS)), np.empty((N_ITEMS, N_ITEMS))
        for number in range(1, self.iterations + 1):
            self.user_factors[:], self.item_factors[:] = self.factors_of(number)
            self.loss_history.append(100.0 / number)
            if callback(self, number - 1, self.loss_history[-1]):
                break
        return self


def metric_of_sweep(sweep, metric="ndcg"):
    model = Scripted()
    model.user_factors, model.item_factors = model.factors_of(sweep)
    return ranking_metrics_at_k(model, TRAIN, VALIDATION, 3, auc=True)[metric]


@pytest.mark.parametrize("metric", ["ndcg", "recall", "auc", "coverage"])
def test_learning_curve(metric):
    monitor = ValidationCallback(TRAIN, VALIDATION, metric, K=3)
    model = Scripted().fit(TRAIN, callback=monitor)
    curve = monitor.learning_curve
    np.testing.assert_array_equal(curve["sweep"], np.arange(8))
    np.testing.assert_array_equal(curve["loss"], model.loss_history)
    np.testing.assert_array_equal(curve[metric], [metric_of_sweep(s, metric) for s in range(1, 9)])
    assert np.isnan(curve["stderr"]).all() == (metric == "coverage")
    assert not monitor.stopped


def test_every_second_sweep():
    monitor = ValidationCallback(TRAIN, VALIDATION, K=3, every=2)
    monitor.fit(Scripted())
    curve = monitor.learning_curve
    np.testing.assert_array_equal(np.isnan(curve["ndcg"]), [True, False] * 4)
    np.testing.assert_array_equal(curve["loss"], 100.0 / np.arange(1, 9))
    assert monitor.best_sweep == 3


def test_every_keeps_its_phase_after_a_resume():
    """Sweeps 5, 6, 7 of a resumed fit: every third sweep is evaluated as if there had been no break."""
    monitor, model = ValidationCallback(TRAIN, VALIDATION, K=3, every=3), Scripted()
    model.user_factors, model.item_factors = model.factors_of(1)
    for sweep in (5, 6, 7, 8):
        monitor(model, sweep, 1.0)
    np.testing.assert_array_equal(np.isnan(monitor.learning_curve["ndcg"]), [False, True, True, False])


@pytest.mark.parametrize(("patience", "expected_sweeps"), [(1, 5), (2, 6), (None, 8)])
def test_early_stopping_restores_the_best(patience, expected_sweeps):
    monitor = ValidationCallback(TRAIN, VALIDATION, K=3, patience=patience)
    model = Scripted()
    assert monitor.fit(model) is model
    assert len(model.loss_history) == expected_sweeps
    assert monitor.stopped == (patience is not None)
    assert (monitor.best_sweep, monitor.best_value) == (3, metric_of_sweep(4))
    for got, expected in zip((model.user_factors, model.item_factors), model.factors_of(4), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert ranking_metrics_at_k(model, TRAIN, VALIDATION, 3)["ndcg"] == monitor.best_value


def test_min_delta():
    gains = np.diff([metric_of_sweep(s) for s in (1, 2, 3, 4)])
    assert (gains > 0).all()
    monitor = ValidationCallback(TRAIN, VALIDATION, K=3, patience=1, min_delta=gains[0] + 1e-9)
    monitor.fit(Scripted())
    assert (monitor.best_sweep, len(monitor.learning_curve["sweep"])) == (0, 2)


def test_restored_factors_are_the_models_own():
    monitor = ValidationCallback(TRAIN, VALIDATION, K=3)
    model = monitor.fit(Scripted())
    model.user_factors[:] = 0
    np.testing.assert_array_equal(monitor.restore(Scripted()).user_factors, model.factors_of(4)[0])


@pytest.mark.parametrize("sides", [("user_features",), ("item_features",), ("user_features", "item_features")])
def test_effects_of_features_are_those_of_the_best_sweep(sides):
    random = np.random.default_rng(0)
    features = {"user_features": random.normal(size=(8, 3)), "item_features": random.normal(size=(N_ITEMS, 2))}
    given = {name: features[name] for name in sides}
    model, seen = ImplicitALS(3, iterations=6, random_state=0, regularization=0.01), []
    monitor = ValidationCallback(TRAIN, VALIDATION, K=3)

    def watch(model, sweep, loss):
        seen.append([None if effects is None else effects.copy() for effects in model.feature_effects_])
        return monitor(model, sweep, loss)

    model.fit(TRAIN, callback=watch, **given)
    assert monitor.best_sweep < 5, "else there is nothing to restore"
    monitor.restore(model)

    for got, expected, last in zip(model.feature_effects_, seen[monitor.best_sweep], seen[-1], strict=True):
        assert (got is None) == (expected is None)
        if got is not None:
            np.testing.assert_array_equal(got, expected)
            assert np.abs(expected - last).max() > 1e-6


@pytest.mark.parametrize("through_fit", [True, False])
def test_new_run_clears_the_curve(through_fit):
    monitor = ValidationCallback(TRAIN, VALIDATION, K=3, patience=3)
    monitor.fit(Scripted())
    if through_fit:
        monitor.fit(Scripted(2))
    else:
        Scripted(2).fit(TRAIN, callback=monitor)
    np.testing.assert_array_equal(monitor.learning_curve["sweep"], [0, 1])
    assert (monitor.best_sweep, monitor.stopped) == (1, False)


def test_options_reach_the_evaluation():
    monitor = ValidationCallback(TRAIN, VALIDATION, K=3, users=[1, 2, 5], filter_train=False)
    model = Scripted(1)
    monitor.fit(model)
    expected = ranking_metrics_at_k(model, TRAIN, VALIDATION, 3, users=[1, 2, 5], filter_train=False)
    assert monitor.best_value == expected["ndcg"]


def test_unknown_metric():
    with pytest.raises(KeyError, match="no metric 'accuracy' among precision"):
        ValidationCallback(TRAIN, VALIDATION, "accuracy").fit(Scripted())


@pytest.mark.parametrize("bad", [{"every": 0}, {"patience": 0}, {"patience": 1.5}, {"min_delta": -1}])
def test_bad_arguments(bad):
    with pytest.raises((ValueError, TypeError), match=next(iter(bad))):
        ValidationCallback(TRAIN, VALIDATION, **bad)


def test_restore_before_fit():
    with pytest.raises(ValueError, match="no best factors"):
        ValidationCallback(TRAIN, VALIDATION).restore(Scripted())


def test_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    monitor = ValidationCallback(TRAIN, VALIDATION, K=3, every=2)
    monitor.fit(Scripted())
    ax = monitor.plot()
    right = next(other for other in ax.figure.axes if other is not ax)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), 100.0 / np.arange(1, 9))
    np.testing.assert_array_equal(right.lines[0].get_xdata(), [2, 4, 6, 8])
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [metric_of_sweep(s) for s in (2, 4, 6, 8)])
    assert right.get_ylabel().startswith("validation ndcg@3")
    plt.close(ax.figure)
    _, given = plt.subplots()
    assert monitor.plot(given) is given
    plt.close(given.figure)


@pytest.mark.parametrize("noise", [0.0, 0.001, 0.5])
def test_curves_are_not_covered_and_noise_does_not_fill_the_axes(noise):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    monitor = ValidationCallback(TRAIN, VALIDATION, K=3)
    monitor.fit(Scripted())
    monitor._curve = [(sweep, loss, 0.14 + noise * np.sin(9.0 * sweep), 0.0) for sweep, loss, *_ in monitor._curve]
    _, ax = plt.subplots(figsize=(4.5, 3.5), layout="constrained")  # a third of a page
    monitor.plot(ax)
    right = next(other for other in ax.figure.axes if other is not ax)
    low, high = right.get_ylim()
    assert high - low >= 0.25 * monitor.learning_curve["ndcg"].max()
    ax.figure.canvas.draw()
    covered = right.get_legend().get_window_extent()
    assert ax.bbox.x0 <= covered.x0 < covered.x1 <= ax.bbox.x1
    for axes in (ax, right):
        points = axes.transData.transform(axes.lines[0].get_xydata())
        assert not covered.count_contains(points)
    plt.close(ax.figure)


def test_plot_without_matplotlib(monkeypatch):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monitor = ValidationCallback(TRAIN, VALIDATION, K=3)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install 'fastals\[plots\]'"):
        monitor.plot()


def block_interactions():
    """Users who mostly like items of their own kind."""
    rng = np.random.default_rng(0)
    same_kind = (np.arange(60)[:, None] - np.arange(40)) % 4 == 0
    return sp.csr_array((rng.random((60, 40)) < np.where(same_kind, 0.6, 0.05)).astype(np.float64))


def test_with_the_real_model():
    train, validation = train_test_split(block_interactions(), test_size=0.3, random_state=0)
    monitor = ValidationCallback(train, validation, "recall", K=5, patience=2)
    # Hardly any regularisation: the metric peaks early, then over-fitting sets in.
    model = monitor.fit(ImplicitALS(12, regularization=1e-3, alpha=40.0, iterations=30, random_state=0))
    curve = monitor.learning_curve
    assert monitor.stopped
    assert monitor.best_sweep < curve["sweep"][-1] < 29
    assert monitor.best_value == np.max(curve["recall"])
    np.testing.assert_array_equal(curve["loss"][:-1], model.loss_history[:-1])
    assert ranking_metrics_at_k(model, train, validation, 5)["recall"] == monitor.best_value


def test_unknown_options_are_refused_at_once():
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'user'; did you mean 'users'"):
        ValidationCallback(TRAIN, VALIDATION, user=[0])


@pytest.mark.parametrize("acceleration", [False, True])
def test_parts_of_the_loss_are_recorded_sweep_by_sweep(acceleration):
    parts, models = LossParts(TRAIN), []

    def callback(model, sweep, loss):
        parts(model, sweep, loss)
        models.append((model.user_factors.copy(), model.item_factors.copy(), loss))

    model = ImplicitALS(3, iterations=4, alpha=2.0, random_state=0, dtype="float64", acceleration=acceleration)
    model.fit(TRAIN, callback=callback)

    curve = parts.curve
    assert list(curve) == ["sweep", "loss", "stored", "missing", "user_penalty", "item_penalty", "feature_penalty"]
    np.testing.assert_array_equal(curve["sweep"], np.arange(4))
    np.testing.assert_array_equal(curve["loss"][:-1], model.loss_history[:-1])
    R = TRAIN.toarray()
    for sweep, (P, Q, loss) in enumerate(models):
        S = P @ Q.T
        assert curve["stored"][sweep] == pytest.approx(((1 + 2 * R) * (1 - S) ** 2)[R != 0].sum(), rel=1e-12)
        assert curve["missing"][sweep] == pytest.approx((S**2)[R == 0].sum(), rel=1e-9)
        whole = sum(curve[name][sweep] for name in list(curve)[2:])
        assert whole == pytest.approx(loss, rel=1e-9)


def test_parts_of_another_training_replace_those_recorded():
    parts = LossParts(TRAIN)
    assert parts.curve["missing"].shape == (0,)
    ImplicitALS(2, iterations=3, random_state=0).fit(TRAIN, callback=parts)
    ImplicitALS(2, iterations=2, random_state=1).fit(TRAIN, callback=parts)
    assert parts.curve["sweep"].tolist() == [0, 1]


def test_parts_with_preferences():
    phi = TRAIN.copy()
    phi.data = np.linspace(0, 2, phi.nnz)
    parts = LossParts(TRAIN, phi)
    model = ImplicitALS(2, iterations=1, random_state=0, dtype="float64").fit(TRAIN, preference=phi, callback=parts)
    assert sum(parts.curve[name][0] for name in model.loss_parts(TRAIN)) == pytest.approx(model.loss_history[0])
