"""Tables of (user id, item id, value): ids, files, and the matrix they make."""
