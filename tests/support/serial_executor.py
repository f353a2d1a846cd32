"""The executor of a sharded training without Dask: every shard here, one after the other."""

import contextlib
import pickle
from collections import defaultdict

import numpy as np

from fastals.distributed.prepare import prepare
from fastals.distributed.sources import sources_of
from fastals.solver.fitting import Given, sweep_until


class SerialExecutor:
    """Values are their own references; ``pickled`` sends each through pickle first, as a worker would get it."""

    def __init__(self, count, pickled=False):
        self.count, self.pickled = count, pickled
        self.seconds, self.calls = defaultdict(float), []

    def share(self, name, value):
        self.calls.append(name)
        return pickle.loads(pickle.dumps(value, 5)) if self.pickled else value

    def handed(self, name, value):
        return self.share(name, value)

    def map(self, name, function, *arguments):
        self.calls.append(name)
        columns = [argument if isinstance(argument, list) else [argument] * self.count for argument in arguments]
        found = [function(*row) for row in zip(*columns, strict=True)]
        return [pickle.loads(pickle.dumps(value, 5)) for value in found] if self.pickled else found

    def warm(self, name, function, *arguments):
        self.calls.append(name)
        function(*arguments)

    @contextlib.contextmanager
    def placed(self):
        yield

    def settle(self, references):
        pass

    def gather(self, references):
        return list(references)

    def total(self, name, add, function, *arguments):
        level = self.map(name, function, *arguments)
        while len(level) > 1:
            pairs = [add(*pair) for pair in zip(level[::2], level[1::2], strict=False)]
            level = [*pairs, *level[2 * len(pairs) :]]
        return level[0]

    @contextlib.contextmanager
    def phase(self, name):
        self.seconds[name] += 0
        yield

    def bytes_moved(self):
        return 0


def sharded_fit(model, user_items, pickled=False, **given):
    """Training of a ``DaskImplicitALS`` on such an executor, and all users' factors."""
    preference, resume_from = given.pop("preference", None), given.pop("resume_from", None)
    sources = sources_of(user_items, preference, model.pairs_per_shard)
    executor = SerialExecutor(sources.shards, pickled)
    training = prepare(model, Given(None, **given), sources, executor)
    training.executor = executor
    if resume_from is not None:
        training.restore(resume_from)
    sweep_until(training, model.iterations, lambda sweep, loss: None, False)
    training.finish()
    training.check_products()
    return training, np.concatenate([solved.X for solved in training.users.factors.references])


def assert_near(training, P, local, rtol=1e-6):
    """The loss after each sweep is that of a local fit, and so are the factors, but for rounding errors."""
    # At the loose tolerances of the first sweeps a row may take a step more for a rounding error.
    np.testing.assert_allclose(training.loss_history, local.loss_history, rtol=10 * rtol)
    np.testing.assert_allclose(training.loss_history[-1], local.loss_history[-1], rtol=rtol)
    scale = np.abs(local.user_factors).max(), np.abs(local.item_factors).max()
    np.testing.assert_allclose(P, local.user_factors, atol=1e-3 * scale[0])
    np.testing.assert_allclose(training.items.factors, local.item_factors, atol=1e-3 * scale[1])
