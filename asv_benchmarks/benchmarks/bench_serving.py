"""Serving a model: top-N lists, on trained factors and on random ones, which nothing can prune; fold-in; files."""

import os
import tempfile
import time

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.persistence.checkpoint import Checkpoint
from fastals.serving.single_query import SketchIndex, top_of_one
from fastals.serving.top_items import ItemIndex, top_items, unit_rows

from .frozen_data import REGIMES, interactions

FACTORS = (64, 128)


class OnFactors:
    """Base: factors of ten sweeps on the frozen data, or random ones of the same shape, and what each user has seen."""

    params = (["trained", "random"], FACTORS)
    param_names = ("vectors", "factors")
    timeout = 600

    def setup_cache(self):
        train = interactions("places").train
        made = {}
        for factors in FACTORS:
            model = ImplicitALS(factors, iterations=10, random_state=0, **REGIMES["rendle"]).fit(train)
            made["trained", factors] = model.user_factors, model.item_factors
            random = np.random.default_rng(0)
            made["random", factors] = tuple(
                random.standard_normal((rows, factors), dtype=np.float32) for rows in train.shape
            )
        return made, (train.indptr.astype(np.int64), train.indices.astype(np.int32))

    def setup(self, data, vectors: str, factors: int) -> None:
        made, self.seen = data
        self.users, self.items = made[vectors, factors]
        self.index, self.sketches = ItemIndex.build(self.items), SketchIndex.build(self.items)
        self.all_users(10)  # compiles, or loads what was compiled
        self.one_user(0)

    def all_users(self, n: int) -> None:
        top_items(self.users, self.items, n, seen=self.seen, index=self.index)

    def one_user(self, user: int) -> None:
        start, stop = self.seen[0][user : user + 2]
        top_of_one(self.users[user], self.sketches, 10, self.seen[1][start:stop])

    def bare_product(self) -> None:
        """The whole score matrix by BLAS, a thousand users at a time, with no selection."""
        scores = np.empty((1024, self.items.shape[0]), np.float32)
        for start in range(0, self.users.shape[0], 1024):
            queries = self.users[start : start + 1024]
            np.matmul(queries, self.items.T, out=scores[: queries.shape[0]])


class AllUsers(OnFactors):
    """Lists of all users, seen items filtered, and their price relative to the bare matrix product."""

    def time_top_10(self, data, vectors: str, factors: int) -> None:
        self.all_users(10)

    def time_top_100(self, data, vectors: str, factors: int) -> None:
        self.all_users(100)

    def time_index(self, data, vectors: str, factors: int) -> None:
        ItemIndex.build(self.items)

    def track_ratio_to_bare_product(self, data, vectors: str, factors: int) -> float:
        return best_time(lambda: self.all_users(10)) / best_time(self.bare_product)


class OneUser(OnFactors):
    """A hundred single requests in turn, each for another user, and what they are prepared with."""

    def time_hundred_requests(self, data, vectors: str, factors: int) -> None:
        for user in range(0, 30_000, 300):
            self.one_user(user)

    def time_sketches(self, data, vectors: str, factors: int) -> None:
        SketchIndex.build(self.items)


class OneItem(OnFactors):
    """A hundred single requests in turn, each for the neighbours of another item, and what they are prepared with."""

    def setup(self, data, vectors: str, factors: int) -> None:
        super().setup(data, vectors, factors)
        self.directions = unit_rows(self.items)
        self.neighbours = SketchIndex.build(self.directions, 1.0)
        self.one_item(0)

    def one_item(self, item: int) -> None:
        top_of_one(self.directions[item], self.neighbours, 10)

    def time_hundred_requests(self, data, vectors: str, factors: int) -> None:
        for item in range(0, len(self.items), len(self.items) // 100):
            self.one_item(item)

    def time_sketches(self, data, vectors: str, factors: int) -> None:
        SketchIndex.build(self.directions, 1.0)


class OnModel:
    """Base: a fitted model, asked before the clock goes on for all that it keeps between requests."""

    params = (FACTORS,)
    param_names = ("factors",)
    timeout = 600

    def setup_cache(self):
        train = interactions("places").train
        return {
            factors: ImplicitALS(factors, iterations=5, random_state=0, **REGIMES["rendle"]).fit(train)
            for factors in FACTORS
        }

    def setup(self, models, factors: int) -> None:
        self.model = models[factors]
        self.matrix = self.model.user_items_
        self.some = np.random.default_rng(0).permutation(self.matrix.shape[0])[:10_000]
        self.rows = self.matrix[self.some]
        self.single = [(int(user), self.matrix[[user]]) for user in self.some[:100]]
        self.candidates = np.random.default_rng(2).permutation(self.matrix.shape[1])[:2_000]
        self.model.recalculate_user(self.some)
        self.model.recommend(0), self.model.similar_items(0), self.model.explain(0, itemid=0)


class Requests(OnModel):
    """Requests in turn as a server gets them, arguments checked and all; a hundred unless said otherwise."""

    def time_recommend(self, models, factors: int) -> None:
        for user, _ in self.single:
            self.model.recommend(user)

    def time_recommend_from_fresh_row(self, models, factors: int) -> None:
        for user, row in self.single:
            self.model.recommend(user, row, recalculate_user=True)

    def time_similar_items(self, models, factors: int) -> None:
        for item in range(100):
            self.model.similar_items(item)

    def time_recommend_among_2000_items(self, models, factors: int) -> None:
        for user, _ in self.single:
            self.model.recommend(user, items=self.candidates)

    def time_similar_to_10000_items(self, models, factors: int) -> None:
        self.model.similar_items(np.arange(10_000))

    def time_explain(self, models, factors: int) -> None:
        for user, _ in self.single:
            self.model.explain(user, itemid=0)

    def time_ten_partial_fits(self, models, factors: int) -> None:
        for user, row in self.single[:10]:
            self.model.partial_fit_users([user], row)


class Updates(OnModel):
    """New pairs taken in, a few and a percent of all, after an update that has made what is kept between them."""

    def setup(self, models, factors: int) -> None:
        super().setup(models, factors)
        random, shape = np.random.default_rng(1), self.matrix.shape
        self.news = {}
        for number in (10, 1_000, self.matrix.nnz // 100):
            pairs = random.integers(0, shape[0], number), random.integers(0, shape[1], number)
            self.news[number] = sp.csr_array((np.ones(number, np.float32), pairs), shape=shape)
        self.few, self.some, self.percent = self.news.values()
        self.model.update(self.few)

    def time_ten_pairs(self, models, factors: int) -> None:
        self.model.update(self.few)

    def time_thousand_pairs(self, models, factors: int) -> None:
        self.model.update(self.some)

    def time_one_percent(self, models, factors: int) -> None:
        self.model.update(self.percent)

    def time_one_percent_and_a_sweep(self, models, factors: int) -> None:
        self.model.update(self.percent, sweeps=1)


class FoldIn(OnModel):
    """Ten thousand users solved from their rows, and the price of a stored pair relative to a half-sweep's."""

    def time_10000_users(self, models, factors: int) -> None:
        self.model.recalculate_user(self.some, self.rows)

    def time_cold(self, models, factors: int) -> None:
        """With the items' eigenbasis to be made first."""
        self.model.item_factors = self.model.item_factors
        self.model.recalculate_user(self.some, self.rows)

    def track_ratio_to_half_sweep(self, models, factors: int) -> float:
        def whole():
            self.model.item_factors = self.model.item_factors  # a half-sweep makes its basis
            self.model.recalculate_user(np.arange(self.matrix.shape[0]), self.matrix)

        fold_in = best_time(lambda: self.model.recalculate_user(self.some, self.rows)) / self.rows.nnz
        return fold_in / (best_time(whole) / self.matrix.nnz)


class Files(OnModel):
    """Model files and checkpoints, on whatever disk the temporary folder is."""

    def setup(self, models, factors: int) -> None:
        super().setup(models, factors)
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "model")
        self.model.save(self.path)

    def teardown(self, models, factors: int) -> None:
        self.folder.cleanup()

    def time_save(self, models, factors: int) -> None:
        self.model.save(self.path)

    def time_load(self, models, factors: int) -> None:
        ImplicitALS.load(self.path)

    def time_load_mapped(self, models, factors: int) -> None:
        ImplicitALS.load(self.path, mmap=True)

    def track_file_size(self, models, factors: int) -> int:
        return os.path.getsize(self.path)

    def track_checkpoint_share(self, models, factors: int) -> float:
        """Time of two sweeps with a checkpoint after each, relative to that without."""
        checkpoint = Checkpoint(os.path.join(self.folder.name, "state"))
        model = ImplicitALS(**self.model.get_params()).set_params(iterations=2)
        with_files = best_time(lambda: model.fit(self.matrix, callback=checkpoint))
        return with_files / best_time(lambda: model.fit(self.matrix))


class ServingMemory:
    """Peak memory of the process with the factors and the index alone, and through the lists of all users."""

    params = (FACTORS,)
    param_names = ("factors",)

    def setup(self, factors: int) -> None:
        random = np.random.default_rng(0)
        self.users, self.items = (
            random.standard_normal((rows, factors), dtype=np.float32) for rows in (30_000, 40_000)
        )
        self.index = ItemIndex.build(self.items)

    def peakmem_factors_and_index(self, factors: int) -> None:
        pass

    def peakmem_all_users(self, factors: int) -> None:
        top_items(self.users, self.items, 10, index=self.index)


def best_time(function) -> float:
    """Seconds of the fastest of three calls."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
