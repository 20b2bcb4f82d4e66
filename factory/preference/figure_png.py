"""The picture of one searched answer as a PNG, for places that show no HTML; `factory.preference.figure` has the page."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from factory.preference.figure import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 56
"""Characters in a line of the answer."""
WIDTH, LINE_HEIGHT, CURVE_HEIGHT = 7.4, 0.3, 1.5
DPI = 110
INK, GREY, BLUE = "#1b1f24", "#d0d7de", "#0969da"


def of_folder(folder: Path) -> bytes | None:
    """The picture of the `trajectory.json` in a folder; None where there is none."""
    path = folder / "trajectory.json"
    if not path.exists():
        return None
    return draw(TypeAdapter(Trajectory).validate_json(path.read_bytes()))


def draw(trajectory: Trajectory) -> bytes:
    """The answer with each token's p(success) as its colour and its pivots boxed, over the curve of p(success)."""
    from matplotlib.figure import Figure

    placed = list(places(trajectory.tokens))
    lines = max((line for _, line, _ in placed), default=0) + 1
    figure = Figure(figsize=(WIDTH, CURVE_HEIGHT + LINE_HEIGHT * (lines + 1)), dpi=DPI, layout="constrained")
    text, curve = figure.subplots(2, height_ratios=[LINE_HEIGHT * (lines + 1), CURVE_HEIGHT])
    _answer(text, trajectory, placed, lines)
    _curve(curve, trajectory)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def places(tokens: tuple[str, ...]) -> Iterator[tuple[int, int, str]]:
    """Column, line and shown text of every token in a grid of characters; a line break shows as a pilcrow and breaks the line."""
    column = line = 0
    for token in tokens:
        shown = "".join("¶" if c == "\n" else c if c.isprintable() else "\ufffd" for c in token)
        if column and column + len(shown) > LINE:
            column, line = 0, line + 1
        yield column, line, shown
        column += len(shown)
        if token.endswith("\n"):
            column, line = 0, line + 1


def _answer(axes: "Axes", trajectory: Trajectory, placed: list[tuple[int, int, str]], lines: int) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    pivots = set(trajectory.pivots())
    for position, (column, line, shown) in enumerate(placed):
        colour = colormaps["RdYlGn"](0.15 + 0.7 * trajectory.success[position + 1], alpha=0.6)
        axes.add_patch(Rectangle((column, line + 0.1), len(shown), 0.8, facecolor=colour))
        if position in pivots:
            axes.add_patch(Rectangle((column, line + 0.1), len(shown), 0.8, fill=False, edgecolor=INK, linewidth=1.6, zorder=3))
        for place, character in enumerate(shown, start=column):  # one by one: no font is exactly as wide as the grid
            axes.text(place + 0.5, line + 0.52, character, ha="center", va="center", family="monospace", fontsize=9, parse_math=False)
    axes.set(xlim=(-0.2, LINE + 0.2), ylim=(lines + 0.1, -0.1))
    axes.set_axis_off()


def _curve(axes: "Axes", trajectory: Trajectory) -> None:
    axes.plot(range(len(trajectory.success)), trajectory.success, color=BLUE, linewidth=1.4)
    pivots = [position + 1 for position in trajectory.pivots()]
    axes.plot(pivots, [trajectory.success[i] for i in pivots], "o", color=INK, markersize=5)
    axes.set(ylim=(-0.05, 1.05), ylabel="p(success)", xlabel=f"tokens of the answer; boxed: a change of {trajectory.gap:g} or more")
    axes.grid(axis="y", color=GREY, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
