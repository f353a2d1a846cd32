import numpy as np
import pandas as pd

from fastals import ImplicitALS
from fastals.interactions import Interactions

rng = np.random.default_rng(0)
plays = pd.DataFrame(
    rng.integers(0, (500, 200, 20), (9_000, 3)) + 1, columns=["user", "item", "plays"]
)
plays.to_parquet("plays.parquet")  # here stands what you have

table = Interactions.from_dataframe(
    pd.read_parquet("plays.parquet"), user="user", item="item", value="plays"
)
model = ImplicitALS(
    factors=32, alpha=2.0, regularization=0.1, iterations=15, random_state=0
)
model.fit(table.user_items)

# All users: int32 ids, -1 where fewer are left.
items, scores = model.recommend(np.arange(table.n_users), N=10)
lists = pd.DataFrame(
    {
        "user": np.repeat(table.user_ids, 10),
        "item": items.ravel(),
        "score": scores.ravel(),
    }
)
lists = lists[lists["item"] >= 0]
lists["item"] = table.item_ids[lists["item"]]
lists.to_parquet("lists.parquet")
print(lists[lists["user"] == 7].head(5).round(3).to_string(index=False))
model.save("model.fastals", interactions=table)
