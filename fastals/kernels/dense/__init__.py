"""Dense building blocks: register tiles, their plain twins, and the memory they work in."""
