"""What a text calls the names of the public interface."""

from __future__ import annotations

from collections.abc import Iterable


def by_short_name(objects: Iterable[str]) -> dict[str, str]:
    """Full names by what a text calls them.

    Parameters
    ----------
    objects : iterable of str
        Full names of classes, functions and methods.

    Returns
    -------
    dict
        Of `fastals.a.f` both `f` and itself, of `fastals.a.C.m` also `C.m`; no short
        name that two objects share, and no method's name alone.
    """
    found: dict[str, set[str]] = {}
    for name in objects:
        parts = name.split(".")
        is_member = len(parts) > 2 and parts[-2][:1].isupper()
        short = ".".join(parts[-2:]) if is_member else parts[-1]
        for key in {short, name}:
            found.setdefault(key, set()).add(name)
    return {key: full.pop() for key, full in found.items() if len(full) == 1}
