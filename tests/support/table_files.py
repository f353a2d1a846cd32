"""Files of interactions, and what has been read from them."""


def write(tmp_path, text, name="data.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def table(made):
    coo = made.user_items.tocoo()
    return sorted(
        (made.user_ids[u].item(), made.item_ids[i].item(), v)
        for u, i, v in zip(coo.row, coo.col, coo.data.tolist(), strict=True)
    )
