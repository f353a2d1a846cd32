import numpy as np
import scipy.sparse as sp

from fastals import ImplicitALS
from fastals.evaluation import ranking_metrics_at_k, train_test_split

# Everyone has a taste for every tenth item, from another one on.
rng = np.random.default_rng(0)
users, chosen = rng.integers(0, 2_000, 40_000), rng.integers(0, 500, 40_000)
items = np.where(rng.random(40_000) < 0.7, 10 * (chosen // 10) + users % 10, chosen)
plays = sp.csr_matrix((np.ones(40_000, np.float32), (users, items)))
plays.data[:] = 1
train, test = train_test_split(plays, test_size=0.2, random_state=0)

rendle = {
    "objective": "rendle",
    "alpha": 1.0,
    "unobserved_weight": 0.05,
    "regularization_exponent": 1.0,
}
model = ImplicitALS(
    factors=32, regularization=0.01, iterations=16, random_state=0, **rendle
)
model.fit(train)

ids, scores = model.recommend(7, N=5)
print(ids)
print(ranking_metrics_at_k(model, train, test, K=10))
new = sp.csr_array(([1.0, 1.0], ([0, 0], [3, 4])), shape=(1, 500))
ids, scores = model.recommend(0, new, N=1, recalculate_user=True)
print(ids)
