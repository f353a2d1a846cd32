"""A user's script, for mypy --strict: ``assert_type`` says what must be known, each ignored error must be found."""

from typing import assert_type

import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.callbacks import ValidationCallback
from fastals.checkpoint import Checkpoint
from fastals.evaluation import RankingMetrics, ranking_metrics_at_k, train_test_split
from fastals.interactions import Interactions
from fastals.weighting import bm25

plays = sp.csr_array(np.eye(4, dtype=np.float32))
train, test = train_test_split(plays, test_size=0.5, random_state=0)

model = ImplicitALS(factors=8, regularization=(0.1, 0.2), dtype=np.float64, random_state=np.random.default_rng(0))
assert_type(model.fit(bm25(train), callback=lambda model, sweep, loss: loss < 1.0), ImplicitALS)
assert_type(model.loss_history, list[float])
assert_type(model.loss(plays), float)
assert_type(model.solver_report_, dict[str, float])
assert_type(ImplicitALS.load("model.fastals", mmap=True), ImplicitALS)
ids, scores = model.recommend(3, N=2)
total, contributions, _ = model.explain(0, itemid=1)
assert_type(contributions, list[tuple[int, float]])

metrics = ranking_metrics_at_k(model, train, test, K=2)
assert_type(metrics, RankingMetrics)
assert_type(metrics["ndcg"], float)

table = Interactions.from_arrays(["ann", "bob"], ["abba", "blur"], duplicates="mean")
assert_type(table.n_users, int)
model.save("model.fastals", interactions=table)
ValidationCallback(train, test, patience=3).fit(model)
Checkpoint("training.checkpoint").fit(model, train)

ImplicitALS(factors="8")  # type: ignore[arg-type]
ImplicitALS(factor=8)  # type: ignore[call-arg]
ImplicitALS(8, 0.1)  # type: ignore[call-arg]
model.fit(train, show_progress="yes")  # type: ignore[arg-type]
model.recommend()  # type: ignore[call-arg]
Interactions.from_arrays(["ann"], ["abba"], duplicates="average")  # type: ignore[arg-type]
