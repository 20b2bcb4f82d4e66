"""The picture of one searched answer: p(success) token by token, pivotal tokens boxed (the paper's figure 3)."""

import math
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 960, 180
RARE = 0.1

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; background: #fff }
.answer { font: 16px/2.3 ui-monospace, monospace; white-space: pre-wrap }
.answer span { padding: .2em .05em; border-radius: 3px; color: #1b1f24 }
.pivot { outline: 2px solid #1b1f24 }
.rare { text-decoration: underline 2px }
svg { width: 100%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: #57606a }
table { border-collapse: collapse } td, th { padding: .15rem .8rem .15rem 0; text-align: left }
"""


@dataclass(frozen=True)
class Trajectory:
    """A question and one answer to it: `success[i]` is p(success) before token i, the last entry the oracle's verdict.

    None stands where it was not estimated. `samples` is the least number of rollouts behind an estimate, 0 where that differs;
    `pivots` are the positions of the tokens that the search verified to change p(success) by about `gap` or more.
    """

    question: str
    tokens: tuple[str, ...]
    log_probs: tuple[float, ...]
    success: tuple[float | None, ...]
    pivots: tuple[int, ...]
    gap: float
    samples: int

    @property
    def known(self) -> list[tuple[int, float]]:
        """The estimates that there are, with the number of tokens before each."""
        return [(place, success) for place, success in enumerate(self.success) if success is not None]

    def around(self, position: int) -> tuple[float, float]:
        """p(success) before and after a pivot, both of which were sampled."""
        before, after = self.success[position], self.success[position + 1]
        if before is None or after is None:
            raise ValueError(f"token {position} is no pivot: p(success) was not estimated beside it")
        return before, after


def render(trajectory: Trajectory) -> str:
    """The picture as one HTML page that needs nothing else."""
    tokens = "".join(_token(trajectory, position) for position in range(len(trajectory.tokens)))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Pivotal tokens</title><style>{_STYLE}</style>\n'
        f"<h1>Which tokens decide this answer?</h1>\n<p>{escape(trajectory.question)}</p>\n"
        f'<p class="answer">{tokens}</p>\n{_curve(trajectory)}\n{_table(trajectory)}\n'
        f"<p>The colour of a token is p(success) after it, from red (0) to green (1), estimated from at least {trajectory.samples} "
        f"rollouts; the last one is the oracle's verdict. Boxed are pivots: fresh rollouts confirmed that they change it, by about "
        f"{trajectory.gap:g} or more. Tokens that the model gave a chance of {RARE:g} or less are underlined.</p></html>\n"
    )


def _token(trajectory: Trajectory, position: int) -> str:
    after, probability = trajectory.success[position + 1], math.exp(trajectory.log_probs[position])
    names = [name for name, holds in (("pivot", position in trajectory.pivots), ("rare", probability <= RARE)) if holds]
    before, later = ("unknown" if known is None else f"{known:.2f}" for known in trajectory.success[position : position + 2])
    title = f"p(success) {before} to {later}, token probability {probability:.2f}"
    colour = "#fff" if after is None else f"hsl({120 * after:.0f} 70% 80%)"
    shown = escape(trajectory.tokens[position]).replace("\n", "&#8629;\n")
    return f'<span class="{" ".join(names)}" style="background: {colour}" title="{title}">{shown}</span>'


def _curve(trajectory: Trajectory) -> str:
    """p(success) against the number of tokens, pivots marked."""
    step = WIDTH / max(1, len(trajectory.tokens))
    points = {place: (round(place * step, 1), round(HEIGHT * (1 - p), 1)) for place, p in trajectory.known}
    line = " ".join(f"{x},{y}" for x, y in points.values())
    dots = "".join(f'<circle cx="{points[i + 1][0]}" cy="{points[i + 1][1]}" r="5"/>' for i in trajectory.pivots)
    frame = "".join(f'<line x1="0" y1="{y}" x2="{WIDTH}" y2="{y}" stroke="#d0d7de"/>' for y in (0, HEIGHT))
    names = ((-20, 4, "1"), (-20, HEIGHT + 4, "0"), (0, HEIGHT + 22, "tokens of the answer"))
    labels = "".join(f'<text x="{x}" y="{y}">{name}</text>' for x, y, name in names)
    return (
        f'<svg viewBox="-40 -12 {WIDTH + 60} {HEIGHT + 40}" role="img" aria-label="p(success) along the answer">{frame}{labels}'
        f'<polyline points="{line}" fill="none" stroke="#0969da" stroke-width="2"/>{dots}</svg>'
    )


def _table(trajectory: Trajectory) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(repr(trajectory.tokens[i]))}</code></td><td>{math.exp(trajectory.log_probs[i]):.2f}</td>"
        + "".join(f"<td>{success:.2f}</td>" for success in trajectory.around(i))
        + "</tr>"
        for i in trajectory.pivots
    )
    return f"<table><tr><th>pivotal token</th><th>its probability</th><th>p before</th><th>p after</th></tr>{rows}</table>"
