"""Which questions the preference stages ask, how they are put to a model, and how its answers are read.

Training on a held-out problem would make every later score worthless, so a bank that holds one stops the stage.
"""

import hashlib
import heapq
import json
import sys
from collections.abc import Iterator, Sequence

from factory.context import Context
from factory.errors import SeedmillError
from factory.records import Record, folded
from factory.sampling.api import SamplingSettings
from factory.tokens.tokenizer import Tokenizer


def draw_questions(context: Context, number: int) -> list[Record]:
    """At most `number` questions of the bank, the same ones for a seed whatever the bank's order; the rest count as dropped.

    Raises when the bank holds a benchmark's problem. Memory: the drawn questions and the benchmarks' texts.
    """
    seed = context.seed("questions")
    bank = list(heapq.nsmallest(number, _training_side(context), key=lambda question: _lot(seed, question["id"])))
    total = sum(batch.num_rows for batch in context.inputs["question_bank"].batches("questions", columns=["id"]))
    if not bank:
        raise SeedmillError(f"{context.spec.asset}: question_bank holds no question; raise its number of problems")
    if total > len(bank):
        context.drop("not drawn", total - len(bank))
    return bank


def _training_side(context: Context) -> Iterator[Record]:
    held_out = {key for problem in context.inputs["benchmarks"].records("problems", columns=["id", "text"]) for key in _keys(problem)}
    for question in context.inputs["question_bank"].records("questions"):
        if held_out.intersection(_keys(question)):
            raise SeedmillError(
                f"question {question['id']} of question_bank is a benchmark's problem: exclude the benchmarks there and build it again"
            )
        yield question


def _keys(question: Record) -> tuple[str, str]:
    return question["id"], folded(question["text"])


def _lot(seed: int, identifier: str) -> bytes:
    return hashlib.blake2b(f"{seed}\x1f{identifier}".encode(), digest_size=8).digest()


class Examiner:
    """Puts questions to a chat model and reads its answers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def settings(self, temperature: float, max_new_tokens: int, top_p: float = 1.0) -> SamplingSettings:
        """Sampling until the turn or the document ends; ids that no text can produce are never drawn."""
        return SamplingSettings(
            temperature=temperature,
            top_p=top_p,
            max_new_tokens=max_new_tokens,
            stop=self.stop,
            forbidden=tuple(sorted({self.tokenizer.pad, *self.tokenizer.unused})),
        )

    @property
    def stop(self) -> tuple[int, ...]:
        """The tokens that end an answer."""
        return (self.tokenizer.im_end, self.tokenizer.eod)

    def prompt(self, question: str) -> tuple[int, ...]:
        """The question as a user's turn, with the assistant's turn opened."""
        return tuple(self.tokenizer.encode_chat([{"role": "user", "content": question}]))

    def text(self, answer: Sequence[int]) -> str:
        """What an answer says, without the token that ends it."""
        stop = self.stop
        return self.tokenizer.decode(token for token in answer if token not in stop)


def fitting(context: Context, questions: Sequence[Record], examiner: Examiner, new_tokens: int) -> list[Record]:
    """The questions that leave room for an answer of `new_tokens` in every input model's context; the rest count as dropped."""
    room = context_length(context, *context.inputs) - new_tokens
    kept = [question for question in questions if len(examiner.prompt(question["text"])) <= room]
    if len(kept) < len(questions):
        context.drop("longer than the context", len(questions) - len(kept))
    return kept


def context_length(context: Context, *inputs: str) -> int:
    """Positions of the shortest model among these inputs, in tokens."""
    configurations = [context.inputs[name].path / "hf" / "config.json" for name in inputs]
    lengths = [json.loads(path.read_bytes())["max_position_embeddings"] for path in configurations if path.exists()]
    return min(lengths, default=sys.maxsize)
