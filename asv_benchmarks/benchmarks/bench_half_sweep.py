"""Half-sweeps: eigenbasis and all row solves of one side."""

from fastals import ImplicitALS
from fastals.core.state import State
from fastals.solver.fitting import Given, prepare
from fastals.solver.sweeps import Training

from .frozen_data import REGIMES, Interactions, OnFrozenData, binary


def second_sweep(data: Interactions, **parameters) -> Training:
    """Training after one sweep, of which either half-sweep can be repeated."""
    model = ImplicitALS(iterations=1, random_state=0, confidence="linear", **REGIMES["rendle"], **parameters)
    user_items = binary(data.train)
    model.fit(user_items)
    given = Given(user_items, user_factors=model.user_factors, item_factors=model.item_factors)
    training, _ = prepare(model, State(), given)
    training.solve_items()  # the arrays that half-sweeps write to are touched once
    training.solve_users()
    return training


class HalfSweep(OnFrozenData):
    """Each side by each solver, all threads. Solving one side leaves the other as it is, so repeats do equal work."""

    params = (["films", "places"], ["cg", "cholesky"], [64, 128, 256])
    param_names = ("shape", "solver", "factors")
    dtype = "float32"

    def setup(self, data, shape: str, solver: str, factors: int) -> None:
        self.training = second_sweep(data[shape], solver=solver, factors=factors, dtype=self.dtype)

    def time_users(self, *_) -> None:
        self.training.solve_users()

    def time_items(self, *_) -> None:
        self.training.solve_items()


class HalfSweepFloat64(HalfSweep):
    """The same in float64."""

    params = (["films", "places"], ["cg", "cholesky"], [64])
    dtype = "float64"


class Threads(OnFrozenData):
    """The users' half-sweep on one thread and on two."""

    params = (["films", "places"], [1, 2])
    param_names = ("shape", "num_threads")

    def setup(self, data, shape: str, num_threads: int) -> None:
        self.training = second_sweep(data[shape], factors=128, num_threads=num_threads)

    def time_users(self, *_) -> None:
        self.training.solve_users()
