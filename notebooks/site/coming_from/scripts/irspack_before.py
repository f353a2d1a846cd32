import numpy as np
import scipy.sparse as sp
from irspack import Evaluator, IALSRecommender, rowwise_train_test_split

# Everyone has a taste for every tenth item, from another one on.
rng = np.random.default_rng(0)
users, chosen = rng.integers(0, 2_000, 40_000), rng.integers(0, 500, 40_000)
items = np.where(rng.random(40_000) < 0.7, 10 * (chosen // 10) + users % 10, chosen)
plays = sp.csr_matrix((np.ones(40_000, np.float32), (users, items)))
plays.data[:] = 1
train, test = rowwise_train_test_split(plays, test_ratio=0.2, random_state=0)

model = IALSRecommender(
    train,
    n_components=32,
    alpha0=0.05,
    reg=0.01,
    nu=1.0,
    train_epochs=16,
    random_seed=0,
)
model.learn()

scores = model.get_score_remove_seen(np.array([7]))[0]
print(np.argsort(-scores)[:5])
print(Evaluator(test, cutoff=10).get_score(model))
new = sp.csr_matrix(([1.0, 1.0], ([0, 0], [3, 4])), shape=(1, 500))
print(model.get_score_cold_user_remove_seen(new).argmax())
