"""Pictures of an artefact, from its manifest and its small outputs: what a person looks at before any number.

Each function returns a PNG, or None where the artefact holds nothing of the kind. Drawn without a display and without
pyplot, whose global state a long-lived server would fill up.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.evaluation.statistics import share
from factory.store.manifest import Manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0969da", "#d1681d", "#8c959f"
SIZE = (5.6, 3.2)
DPI = 90
MOST_BARS = 14
LEAST_LABELLED = 0.05
"""Narrower pieces of a bar have no room for their share."""


def drops(manifest: Manifest) -> bytes | None:
    """Records kept, and dropped by reason."""
    counts = manifest.counts
    if not counts.dropped:
        return None
    figure, axes = _canvas("records", "")
    _bars(axes, {"kept": counts.kept, **dict(sorted(counts.dropped.items(), key=lambda item: -item[1]))}, first=BLUE)
    return _png(figure)


def languages(manifest: Manifest) -> bytes | None:
    """Documents by language, the most frequent first."""
    histogram: Mapping[str, int] = manifest.metrics.get("language_histogram", {})
    if not histogram:
        return None
    figure, axes = _canvas("documents (log scale)", "")
    _bars(axes, histogram)
    axes.set_xscale("log")
    return _png(figure)


def quality(manifest: Manifest) -> bytes | None:
    """Documents by predicted quality, from a histogram of bin edges and counts."""
    histogram = manifest.metrics.get("quality_histogram")
    if not histogram:
        return None
    figure, axes = _canvas("predicted quality", "documents")
    axes.stairs(histogram["counts"], histogram["edges"], fill=True, color=BLUE)
    return _png(figure)


def mixture(folder: Path) -> bytes | None:
    """Tokens of each cluster of a blend, allocated beside unique, with the epochs that follow."""
    if not (folder / "blend.json").exists():
        return None
    clusters = json.loads((folder / "blend.json").read_bytes())["clusters"]
    figure, axes = _canvas("tokens", "")
    places = range(len(clusters))
    axes.barh([p - 0.2 for p in places], [c["allocated"] for c in clusters], 0.38, color=BLUE, label="seen in training")
    axes.barh([p + 0.2 for p in places], [c["tokens"] for c in clusters], 0.38, color=GREY, label="unique")
    axes.set_yticks(list(places), [f"{c['name']} ({c['epochs']:.2g} epochs)" for c in clusters])
    axes.invert_yaxis()
    axes.legend(frameon=False)
    return _png(figure)


def loss(folder: Path) -> bytes | None:
    """The training loss by step from `metrics.jsonl`; for preference training also the share of pairs ranked rightly."""
    if not (folder / "metrics.jsonl").exists():
        return None
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    figure, axes = _canvas("step", "loss")
    steps = [row["step"] for row in rows]
    axes.plot(steps, [row["loss"] for row in rows], color=BLUE, linewidth=1.2)
    if rows and "accuracy" in rows[0]:
        right = axes.twinx()
        right.plot(steps, [row["accuracy"] for row in rows], color=ORANGE, linewidth=1.2)
        right.set_ylabel("pairs ranked rightly", color=ORANGE)
        right.set_ylim(0, 1.02)
    return _png(figure)


def gradients(folder: Path) -> bytes | None:
    """The gradient norm before clipping, and the learning rate, by step from `metrics.jsonl`; a skipped step has no norm."""
    if not (folder / "metrics.jsonl").exists():
        return None
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    figure, axes = _canvas("step", "gradient norm (log scale)")
    steps = [row["step"] for row in rows]
    axes.plot(steps, [row["grad_norm"] for row in rows], color=BLUE, linewidth=1.0)
    axes.set_yscale("log")
    right = axes.twinx()
    right.plot(steps, [row["lr"] for row in rows], color=ORANGE, linewidth=1.2)
    right.set_ylabel("learning rate", color=ORANGE)
    return _png(figure)


def speed(manifest: Manifest) -> bytes | None:
    """Tokens a second by step, of the attempt that ended the run, over the last steps before each."""
    points = manifest.metrics.get("speed")
    if not points:
        return None
    figure, axes = _canvas("step", "tokens a second")
    axes.plot(*zip(*points, strict=True), color=BLUE, linewidth=1.2)
    axes.set_ylim(bottom=0)
    return _png(figure)


def families(folder: Path) -> bytes | None:
    """Greedy accuracy on each family of problems with its interval, from `scores.json` of an evaluation."""
    if not (folder / "scores.json").exists():
        return None
    greedy = json.loads((folder / "scores.json").read_bytes()).get("greedy", {})
    rows = {"all": greedy, **greedy.get("families", {})}
    return accuracy([(name, row["accuracy"], row["low"], row["high"]) for name, row in rows.items() if "accuracy" in row])


def by_stage(folder: Path) -> bytes | None:
    """Greedy accuracy of each checkpoint in the order of training, with Wilson intervals, from `gate.json`."""
    if not (folder / "gate.json").exists():
        return None
    changes = json.loads((folder / "gate.json").read_bytes())["comparisons"]
    steps = [(change["before"], change["greedy"]["before"], change["greedy"]["n"]) for change in changes[:1]]
    steps += [(change["after"], change["greedy"]["after"], change["greedy"]["n"]) for change in changes]
    found = [(name.removesuffix("_checkpoint"), share(round(rate * n), n)) for name, rate, n in steps]
    return accuracy([(name, one.accuracy, one.low, one.high) for name, one in found])


def arms(folder: Path) -> bytes | None:
    """Accuracy of each arm of the ablation, greedy and at temperature 1, with Wilson intervals, from `arms.json`."""
    if not (folder / "arms.json").exists():
        return None
    rows = json.loads((folder / "arms.json").read_bytes())["arms"]
    found = [(f"{row['arm']}, {mode}", row[mode]) for row in rows for mode in ("greedy", "sampled") if mode in row]
    return accuracy([(name.replace("_checkpoint", ""), score["accuracy"], score["low"], score["high"]) for name, score in found])


def long_context(folder: Path) -> bytes | None:
    """Loss by position in long documents, a line for each checkpoint with its standard error, from `scores.json`."""
    scores = json.loads((folder / "scores.json").read_bytes()) if (folder / "scores.json").exists() else {}
    if "checkpoints" not in scores:
        return None
    figure, axes = _canvas("position in the document (tokens)", "loss (nats a token)")
    for (name, score), colour in zip(scores["checkpoints"].items(), (GREY, BLUE, ORANGE), strict=False):
        buckets = score["loss"]
        middles = [(bucket["from"] + bucket["to"]) / 2 for bucket in buckets]
        means, errors = [bucket["mean"] for bucket in buckets], [bucket["standard_error"] for bucket in buckets]
        axes.errorbar(middles, means, yerr=errors, fmt="o-", color=colour, capsize=3, label=name.removesuffix("_checkpoint"))
    axes.legend(frameon=False)
    return _png(figure)


def trivia(folder: Path) -> bytes | None:
    """What became of trivia questions, as in the paper's figure 6: of one checkpoint (`scores.json`), or of each (`gate.json`)."""
    found = {name: json.loads((folder / name).read_bytes()) for name in ("gate.json", "scores.json") if (folder / name).exists()}
    own = found.get("scores.json", {}).get("trivia")
    checkpoints = [*found.get("gate.json", {}).get("trivia", ()), *([{"checkpoint": "", **own}] if own else ())]
    rows = [
        (f"{row['checkpoint'].removesuffix('_checkpoint')} {family}".strip(), row["families"][family])
        for family in ("answerable", "unanswerable")
        for row in checkpoints
        if family in row["families"]
    ]
    return _three_way(rows) if rows else None


def _three_way(rows: Sequence[tuple[str, Mapping[str, float]]]) -> bytes:
    figure, axes = _canvas("share of trivia questions", "")
    labels, begin = [label for label, _ in rows], [0.0] * len(rows)
    for verdict, colour in (("correct", BLUE), ("not attempted", GREY), ("incorrect", ORANGE)):
        shares = [score[verdict] for _, score in rows]
        bars = axes.barh(labels, shares, left=begin, color=colour, label=verdict)
        axes.bar_label(bars, [f"{share:.0%}" if share >= LEAST_LABELLED else "" for share in shares], label_type="center", fontsize=7)
        begin = [start + share for start, share in zip(begin, shares, strict=True)]
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return _png(figure)


def accuracy(rows: Sequence[tuple[str, float, float, float]]) -> bytes | None:
    """Shares with their intervals, one (label, share, low, high) a line, in the order given."""
    if not rows:
        return None
    figure, axes = _canvas("share of problems solved, 95 % interval", "")
    places = list(range(len(rows)))
    shares = [share for _, share, _, _ in rows]
    below, above = [max(0.0, share - low) for _, share, low, _ in rows], [max(0.0, high - share) for _, share, _, high in rows]
    axes.errorbar(shares, places, xerr=[below, above], fmt="o", color=BLUE, ecolor=GREY, capsize=3)
    axes.set_yticks(places, [label for label, *_ in rows])
    axes.set_xlim(0, 1)
    axes.invert_yaxis()
    return _png(figure)


def _bars(axes: "Axes", values: Mapping[str, int | float], first: str = GREY) -> None:
    shown = list(values.items())[:MOST_BARS]
    colours = [first, *[GREY] * (len(shown) - 1)]
    bars = axes.barh([name for name, _ in shown], [value for _, value in shown], color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.margins(x=0.15)
    axes.invert_yaxis()


def _canvas(x: str, y: str) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
