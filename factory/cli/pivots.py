"""`factory pivots`: which tokens decided an answer, in the terminal (the paper's figure 3), and the pairs of any question."""

import json
import math
from typing import Any

import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table
from rich.text import Text

from factory.errors import SeedmillError
from factory.preference.figure import RARE, Trajectory
from factory.store.base import Store
from factory.store.manifest import Manifest

COLUMNS = ("question", "text", "evidence")
MOST_ANSWERS, MOST_PAIRS = 4, 20
KIND = "pivotal_token"


def look(store: Store, found: Manifest, question: str | None) -> dict[str, Any]:
    """The stored picture of one answer; or the answers with pivots, and the pairs, of the questions that `question` means.

    Those are the questions whose id begins with it or whose text holds it. Raises where there is no answer, or no such pair, to show.
    """
    if question is None:
        return {"trajectory": _trajectory(store, found)}
    return {"pairs": _pairs(store, found, question), "answers": _answers(store, found, question)}


def _trajectory(store: Store, found: Manifest) -> dict[str, Any]:
    name = "trajectory.json"
    if name not in {output.name for output in found.outputs}:
        raise SeedmillError(f"{found.asset} {found.version} holds no {name}: no pivot was verified; give the search more questions")
    return json.loads((store.outputs(found, only=(name,)) / name).read_text(encoding="utf-8"))


def _pairs(store: Store, found: Manifest, question: str) -> list[dict[str, Any]]:
    rows = ds.dataset(store.outputs(found, only=("pairs",)) / "pairs", format="parquet")
    pivotal = rows.to_table(columns=list(COLUMNS), filter=ds.field("kind") == KIND).to_pylist()
    asked = [row for row in pivotal if _means(question, row["question"], row["text"])]
    if not asked:
        raise SeedmillError(f"{found.asset} {found.version} holds no pair of a question like {question!r}; it has {len(pivotal)} pairs")
    return [{"question": row["question"], "text": row["text"], "evidence": json.loads(row["evidence"])} for row in asked]


def _answers(store: Store, found: Manifest, question: str) -> list[dict[str, Any]]:
    """A question may have pairs and no answer to draw: where its pairs are refusals, or an older version made them."""
    name = "answers.jsonl"
    if name not in {output.name for output in found.outputs}:
        return []
    with (store.outputs(found, only=(name,)) / name).open(encoding="utf-8") as lines:
        return [answer for answer in map(json.loads, lines) if _means(question, answer["id"], answer["question"])]


def _means(asked: str, identifier: str, text: str) -> bool:
    return identifier.startswith(asked) or asked.casefold() in text.casefold()


def draw(result: dict[str, Any], console: Console) -> None:
    """Print what `look` found."""
    if "pairs" not in result:
        _draw_trajectory(Trajectory(**result["trajectory"]), console)
        return
    for answer in result["answers"][:MOST_ANSWERS]:
        _draw_trajectory(Trajectory(**{name: value for name, value in answer.items() if name != "id"}), console)
    _draw_pairs(result["pairs"], console)
    for name, most in (("answers", MOST_ANSWERS), ("pairs", MOST_PAIRS)):
        if len(result[name]) > most:
            console.print(f"and {len(result[name]) - most} more {name} (--json gives all)", highlight=False)


def _draw_trajectory(trajectory: Trajectory, console: Console) -> None:
    """The answer coloured by p(success) after each token, pivots in brackets, rare tokens underlined; then the pivots in a table."""
    console.print(Text(trajectory.question, style="bold"))
    console.print(Text.assemble(*(_token(trajectory, place) for place in range(len(trajectory.tokens)))))
    table = Table("pivotal token", "its probability", "p before", "p after", box=None, header_style="dim", pad_edge=False)
    for place in trajectory.pivots:
        numbers = (math.exp(trajectory.log_probs[place]), *trajectory.around(place))
        table.add_row(Text(repr(trajectory.tokens[place])), *(f"{number:.2f}" for number in numbers))
    console.print(table)
    rollouts = f"at least {trajectory.samples} rollouts" if trajectory.samples else "the rollouts of the search, where it looked"
    console.print(
        f"Colour: p(success) after the token, from {rollouts}. [ ]: fresh rollouts confirmed that it changes by about {trajectory.gap:g} "
        f"or more. Underlined: probability {RARE:g} or less.\n",
        style="dim",
        markup=False,
        highlight=False,
    )


def _token(trajectory: Trajectory, place: int) -> tuple[str, str]:
    shown = trajectory.tokens[place].replace("\n", "↵\n")
    after = trajectory.success[place + 1]
    style = "default" if after is None else f"black on {_colour(after)}"
    if math.exp(trajectory.log_probs[place]) <= RARE:
        style += " underline"
    return (f"[{shown}]", f"{style} bold") if place in trajectory.pivots else (shown, style)


def _colour(success: float) -> str:
    """From red over yellow to green."""
    red, green = min(1.0, 2 - 2 * success), min(1.0, 2 * success)
    return f"#{80 + round(175 * red):02x}{80 + round(175 * green):02x}50"


def _draw_pairs(pairs: list[dict[str, Any]], console: Console) -> None:
    for pair in pairs[:MOST_PAIRS]:
        evidence = pair["evidence"]
        before, _, _ = pair["text"].rpartition("\n+")
        console.print(Text(before))
        for side, style in (("chosen", "green"), ("rejected", "red")):
            token = evidence[side]
            line = f"  {side} {token['text']!r}: p(success) {token['success']:.2f}, token probability {math.exp(token['log_prob']):.2f}"
            console.print(Text(line, style=style))
        console.print(Text(f"  pair of question {pair['question']}\n", style="dim"))
