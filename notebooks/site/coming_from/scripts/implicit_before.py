import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.evaluation import ranking_metrics_at_k, train_test_split

# Everyone has a taste for every tenth item, from another one on.
rng = np.random.default_rng(0)
users, chosen = rng.integers(0, 2_000, 40_000), rng.integers(0, 500, 40_000)
items = np.where(rng.random(40_000) < 0.7, 10 * (chosen // 10) + users % 10, chosen)
plays = sp.csr_matrix((np.ones(40_000, np.float32), (users, items)))
train, test = train_test_split(plays, train_percentage=0.8, random_state=0)

model = AlternatingLeastSquares(
    factors=32, regularization=10.0, alpha=2.0, iterations=15, random_state=0
)
model.fit(train, show_progress=False)

ids, scores = model.recommend(7, train[7], N=5)
print(ids)
ids, scores = model.similar_items(3, N=5)
print(ids)
print(ranking_metrics_at_k(model, train, test, K=10, show_progress=False))
model.save("model.npz")
