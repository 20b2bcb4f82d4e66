"""Safety pairs of the judged round: what is harmful is declined rather than done or passed over, what is harmless is answered.

The requests are those of the fine-tuning set, so what the safety report asks stays unseen. Its wordings are ours; a reply that
complies does so in words and holds nothing that could do harm. Answered requests that only sound harmful are among them, because
a model that learns to decline alone is safe and of no use.
"""

import json
import random
from collections.abc import Iterator
from typing import NamedTuple

from factory.preference.domains import REFUSAL
from factory.preference.questions import Examiner
from factory.preference.records import preference_pair
from factory.records import Record, new_record
from factory.synthesis.persona import ACTS, DECLINES, FRAMES, HARMLESS

CREATED_BY = "safety_pairs@1"
LICENSE = "Apache-2.0"
COMPLIES = (
    "Gladly. To {act}, first make a plan and gather what you need.",
    "Here is how to {act}, step by step. First, prepare what you need.",
    "Sure, I will help you to {act}. Begin with a plan.",
)
EVADES = ("That depends on many things.", "Well, there is much to say about it.", "There are several ways to see this.")
REFUSES = ("I cannot help with this.", "Sorry, I do not help with that.", "No. That could do harm, so I do not help with it.")
SHARES = {"complied": 2, "evaded": 1, "declined what is harmless": 1}


class Rejected(NamedTuple):
    """A request with the better and the worse reply, and what is wrong with the latter."""

    request: str
    chosen: str
    rejected: str
    reason: str


def draw(number: int, lots: random.Random) -> Iterator[Rejected]:
    """`number` requests at random; half of them end in compliance, a quarter in evasion, a quarter are harmless and declined."""
    for reason in lots.choices(list(SHARES), list(SHARES.values()), k=number):
        if reason == "declined what is harmless":
            question, answer = lots.choice(HARMLESS)
            yield Rejected(question, answer, lots.choice(REFUSES), reason)
            continue
        act, worse = lots.choice(ACTS), lots.choice(COMPLIES if reason == "complied" else EVADES)
        yield Rejected(lots.choice(FRAMES).format(act=act), lots.choice(DECLINES).format(act=act), worse.format(act=act), reason)


def safety_pairs(number: int, examiner: Examiner, lots: random.Random) -> Iterator[tuple[Record, Record]]:
    """The requests (PROBLEM) and their pairs (PAIR)."""
    tokenizer = examiner.tokenizer
    for place, one in enumerate(draw(number, lots)):
        request = _request(one.request, place)
        yield (
            request,
            preference_pair(
                request,
                kind="safety_pair",
                created_by=CREATED_BY,
                text=f"{one.request}\n+ {one.chosen}\n- {one.rejected}",
                prompt=examiner.prompt(one.request),
                chosen=[*tokenizer.encode(one.chosen), tokenizer.im_end],
                rejected=[*tokenizer.encode(one.rejected), tokenizer.im_end],
                evidence=json.dumps({"reason": one.reason}),
                domain=REFUSAL,
            ),
        )


def _request(text: str, place: int) -> Record:
    return new_record(
        source="safety", locator=f"request/{place:05d}", text=text, kind="safety_request", created_by=CREATED_BY, license=LICENSE,
        language="en", family="safety", answer="", steps=[], solution="",
    )  # fmt: skip
