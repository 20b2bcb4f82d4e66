"""From answers to the numbers of a score sheet."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from factory.evaluation.statistics import share
from factory.records import Record

Score = dict[str, Any]
VERDICTS = ("correct", "not attempted", "incorrect")


def score(answers: Sequence[Record]) -> Score:
    """Accuracy with its interval, in all and by family; the styles that were used and how well each did; lengths."""
    return {
        **accuracy(answers),
        "families": {name: accuracy(group) for name, group in grouped(answers, "family").items()},
        "styles": {name: {"share": len(group) / len(answers), **accuracy(group)} for name, group in grouped(answers, "style").items()},
        "stopped": sum(answer["stopped"] for answer in answers) / max(1, len(answers)),
        "mean_tokens": sum(answer["tokens"] for answer in answers) / max(1, len(answers)),
    }


def accuracy(answers: Sequence[Record]) -> Score:
    """correct, n, accuracy, low, high (95 % Wilson interval)."""
    return asdict(share(sum(answer["correct"] for answer in answers), len(answers)))


def grouped(answers: Iterable[Record], column: str) -> dict[str, list[Record]]:
    """Answers by the value of a column, sorted by it."""
    groups: dict[str, list[Record]] = {}
    for answer in answers:
        groups.setdefault(answer[column], []).append(answer)
    return dict(sorted(groups.items()))


def three_way(verdicts: Sequence[str]) -> Score:
    """Correct, not attempted, incorrect as shares, and their F1 (SimpleQA's metric; section 4.4 of the paper, figure 6).

    F1 is the harmonic mean of correct/attempted and correct/all. A model that always guesses and is right in 6 % of cases
    beats one that is right in 3 % and declines the other 94 % on F1 alone, hence the three shares.
    """
    counts, n = Counter(verdicts), max(1, len(verdicts))
    correct, attempted = counts["correct"], len(verdicts) - counts["not attempted"]
    precision, recall = correct / attempted if attempted else 0.0, correct / n
    return {
        "n": len(verdicts),
        **{name: counts[name] / n for name in VERDICTS},
        "correct_given_attempted": precision,
        "f1": 2 * precision * recall / (precision + recall) if correct else 0.0,
    }
