"""Draws the race: relative gap to the best loss against solver seconds, one panel a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

# One hue a library, one dash a solver; red stays with fastals so that the eye finds it in every panel.
_HUES = {"fastals": "#c1272d", "implicit": "#3b6ea5", "irspack": "#4d8f5b"}
_DASHES = {"cg": "-", "cholesky": (0, (5, 2)), "ials++": (0, (1, 1.2))}
_FLOOR, _CEILING, _GOAL = 1e-4, 0.5, 1e-3


def draw(curves: list[dict[str, Any]], factors: int, path: Path, subtitle: str) -> None:
    """Write one figure; a curve is a dict of data, contender, seconds and gap."""
    try:
        import matplotlib
    except ImportError as missing:
        raise SystemExit("the plot needs matplotlib: pip install 'fastals[bench]'") from missing
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(curve["data"] for curve in curves))
    columns = min(2, len(names))
    rows = -(-len(names) // columns)
    style = {"font.size": 10, "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(style):
        figure, axes = plt.subplots(
            rows, columns, figsize=(7.4 * columns, 4.2 * rows + 0.7), sharey=True, squeeze=False, layout="constrained"
        )
        for axis, name in zip(axes.flat, names, strict=False):
            _panel(axis, [curve for curve in curves if curve["data"] == name], name)
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        for axis in axes[-1]:
            axis.set_xlabel("solver time, seconds (log scale)")
        for axis in axes[:, 0]:
            axis.set_ylabel("loss above the best loss of all")
        if columns == 1:
            subtitle = subtitle.replace("; ", "\n")
        figure.suptitle(f"The same loss, the same data, {factors} factors\n{subtitle}", fontsize=11.5)
        figure.savefig(path, dpi=140)
        plt.close(figure)


def _panel(axis: Any, curves: list[dict[str, Any]], name: str) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_title(name, loc="left", fontweight="bold")
    for share in (5e-3, _GOAL):
        axis.axhline(share, color="0.8", linewidth=0.8, zorder=0)
        axis.annotate(
            f"{100 * share:g} %",
            (0, share),
            xycoords=("axes fraction", "data"),
            xytext=(3, 2),
            textcoords="offset points",
            color="0.5",
            fontsize=8,
        )
    lines = {}
    for curve in curves:
        library, _, solver = curve["contender"].partition("-")
        gap = np.maximum(curve["gap"], _FLOOR / 10)
        main = curve["contender"] == "fastals"
        (lines[curve["contender"]],) = axis.plot(
            curve["seconds"],
            gap,
            color=_HUES[library],
            linestyle=_DASHES.get(solver.split(":")[0], "-"),
            linewidth=2.8 if main else 1.5 if library != "fastals" else 1.1,
            zorder=4 if main else 2,
        )
    axis.set_ylim(_FLOOR, _CEILING)
    percent = {1e-4: "0.01 %", 1e-3: "0.1 %", 1e-2: "1 %", 1e-1: "10 %"}
    axis.set_yticks(list(percent), labels=list(percent.values()))
    axis.minorticks_off()
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    _name(axis, curves, lines)


def _name(axis: Any, curves: list[dict[str, Any]], lines: dict[str, Any]) -> None:
    """Name the curves beside the panel in the order in which they came home, with the seconds it took them."""
    arrival = {}
    for curve in curves:
        home = np.flatnonzero(np.asarray(curve["gap"]) <= _GOAL)
        arrival[curve["contender"]] = curve["seconds"][home[0]] if home.size else np.inf
    order = sorted(arrival, key=lambda name: (arrival[name], name))
    texts = [
        f"{name}  {arrival[name]:.3g} s" if np.isfinite(arrival[name]) else f"{name}  not reached" for name in order
    ]
    legend = axis.legend(
        [lines[name] for name in order],
        texts,
        title=f"seconds to {100 * _GOAL:g} %",
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        labelcolor="linecolor",
        alignment="left",
        fontsize=8.5,
        title_fontsize=8.5,
    )
    for name, text in zip(order, legend.get_texts(), strict=True):
        text.set_fontweight("bold" if name == "fastals" else "normal")
