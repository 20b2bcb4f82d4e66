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
    """A question and one answer to it: `success[i]` is p(success) before token i, the last entry the oracle's verdict."""

    question: str
    tokens: tuple[str, ...]
    log_probs: tuple[float, ...]
    success: tuple[float, ...]
    gap: float
    samples: int

    def change(self, position: int) -> float:
        """By how much the token at `position` changes p(success)."""
        return self.success[position + 1] - self.success[position]

    def pivots(self) -> list[int]:
        """The positions of the tokens that change p(success) by the gap or more."""
        return [position for position in range(len(self.tokens)) if abs(self.change(position)) >= self.gap - 1e-9]


def render(trajectory: Trajectory) -> str:
    """The picture as one HTML page that needs nothing else."""
    tokens = "".join(_token(trajectory, position) for position in range(len(trajectory.tokens)))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Pivotal tokens</title><style>{_STYLE}</style>\n'
        f"<h1>Which tokens decide this answer?</h1>\n<p>{escape(trajectory.question)}</p>\n"
        f'<p class="answer">{tokens}</p>\n{_curve(trajectory)}\n{_table(trajectory)}\n'
        f"<p>The colour of a token is p(success) after it, from red (0) to green (1), estimated from at least {trajectory.samples} "
        f"rollouts; the last one is the oracle's verdict. Boxed tokens change it by {trajectory.gap:g} or more; tokens that the "
        f"model gave a chance of {RARE:g} or less are underlined.</p></html>\n"
    )


def _token(trajectory: Trajectory, position: int) -> str:
    after, probability = trajectory.success[position + 1], math.exp(trajectory.log_probs[position])
    names = [name for name, holds in (("pivot", position in trajectory.pivots()), ("rare", probability <= RARE)) if holds]
    title = f"p(success) {trajectory.success[position]:.2f} to {after:.2f}, token probability {probability:.2f}"
    shown = escape(trajectory.tokens[position]).replace("\n", "&#8629;\n")
    return f'<span class="{" ".join(names)}" style="background: hsl({120 * after:.0f} 70% 80%)" title="{title}">{shown}</span>'


def _curve(trajectory: Trajectory) -> str:
    """p(success) against the number of tokens, pivots marked."""
    step = WIDTH / max(1, len(trajectory.tokens))
    points = [(round(i * step, 1), round(HEIGHT * (1 - p), 1)) for i, p in enumerate(trajectory.success)]
    line = " ".join(f"{x},{y}" for x, y in points)
    dots = "".join(f'<circle cx="{points[i + 1][0]}" cy="{points[i + 1][1]}" r="5"/>' for i in trajectory.pivots())
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
        f"<td>{trajectory.success[i]:.2f}</td><td>{trajectory.success[i + 1]:.2f}</td></tr>"
        for i in trajectory.pivots()
    )
    return f"<table><tr><th>pivotal token</th><th>its probability</th><th>p before</th><th>p after</th></tr>{rows}</table>"
