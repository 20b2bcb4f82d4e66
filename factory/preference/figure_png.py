"""The picture of one searched answer as a PNG, for places that show no HTML; `factory.preference.figure` has the page."""

import io
import math
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from factory.preference.figure import RARE, Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE = 56
"""Characters in a line of the answer."""
QUESTION_LINE = 90
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
    height = LINE_HEIGHT * (lines + 1 + len(textwrap.wrap(trajectory.question, QUESTION_LINE)) / 2)
    figure = Figure(figsize=(WIDTH, CURVE_HEIGHT + height), dpi=DPI, layout="constrained")
    text, curve = figure.subplots(2, height_ratios=[height, CURVE_HEIGHT])
    text.set_title("\n".join(textwrap.wrap(trajectory.question, QUESTION_LINE)), loc="left", fontsize=9, parse_math=False)
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

    for position, (column, line, shown) in enumerate(placed):
        after = trajectory.success[position + 1]
        if after is not None:
            colour = colormaps["RdYlGn"](0.15 + 0.7 * after, alpha=0.6)
            axes.add_patch(Rectangle((column, line + 0.1), len(shown), 0.8, facecolor=colour))
        if position in trajectory.pivots:
            axes.add_patch(Rectangle((column, line + 0.1), len(shown), 0.8, fill=False, edgecolor=INK, linewidth=1.6, zorder=3))
        if math.exp(trajectory.log_probs[position]) <= RARE:
            axes.plot((column, column + len(shown)), (line + 0.96, line + 0.96), color=INK, linewidth=1.4)
        for place, character in enumerate(shown, start=column):  # one by one: no font is exactly as wide as the grid
            axes.text(place + 0.5, line + 0.52, character, ha="center", va="center", family="monospace", fontsize=9, parse_math=False)
    axes.set(xlim=(-0.2, LINE + 0.2), ylim=(lines + 0.1, -0.1))
    axes.set_axis_off()


def _curve(axes: "Axes", trajectory: Trajectory) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.plot(*zip(*trajectory.known, strict=True), color=BLUE, linewidth=1.4)
    axes.plot([i + 1 for i in trajectory.pivots], [trajectory.around(i)[1] for i in trajectory.pivots], "o", color=INK, markersize=5)
    words = f"boxed: verified to change p(success) by about {trajectory.gap:g} or more; underlined: chance of {RARE:g} or less"
    axes.set(ylim=(-0.05, 1.05), ylabel="p(success)", xlabel=f"tokens of the answer\n({words})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=GREY, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
