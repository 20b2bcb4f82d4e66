"""The stage `tokenizer`: train a BPE on a balanced sample of our own text, or take cl100k_base over."""

import heapq
from collections.abc import Iterable, Iterator

from factory.context import Context, Input
from factory.records import Record
from factory.tokens import vocabulary
from factory.tokens.config import TokenizerConfig
from factory.tokens.hugging_face import hugging_face_tokenizer
from factory.tokens.tokenizer import Tokenizer

LONGEST = 20_000
"""Characters that one document may give to the sample: a single huge file must not shape the vocabulary."""


def run(context: Context) -> None:
    """Write `ranks.tiktoken`, `spec.json` and `tokenizer.json`."""
    config = context.section(TokenizerConfig)
    if config.kind == "cl100k_base":
        tokenizer = vocabulary.cl100k()
    else:
        tokenizer = vocabulary.trained(_sample(context, config.sample_bytes), config.vocab_size, config.padded_multiple)
    _write(context, tokenizer)


def _write(context: Context, tokenizer: Tokenizer) -> None:
    tokenizer.save(context.out)
    hugging_face_tokenizer(tokenizer).save(str(context.out / "tokenizer.json"))
    for name in ("ranks.tiktoken", "spec.json", "tokenizer.json"):
        context.add_file(name)
    context.made("token", len(tokenizer.ranks))
    figures = {"ranks": len(tokenizer.ranks), "vocab_size": tokenizer.vocab_size, "unused": len(tokenizer.unused)}
    context.metrics.update(kind=tokenizer.spec.kind, identity=tokenizer.identity, **figures)


def _sample(context: Context, sample_bytes: int) -> Iterator[str]:
    """Texts from every input, equally many bytes of each, in an order that depends on record ids alone."""
    inputs = [context.inputs[name] for name in sorted(context.inputs)]
    for done, source in enumerate(inputs):
        context.progress(done, len(inputs), "inputs")
        texts, read = smallest_ids(_documents(source), sample_bytes // len(inputs))
        context.keep(len(texts))
        if read > len(texts):
            context.drop("outside the sample", read - len(texts))
        yield from texts


def _documents(source: Input) -> Iterator[Record]:
    return source.records("documents", ["id", "text"])


def smallest_ids(documents: Iterable[Record], budget: int) -> tuple[list[str], int]:
    """Texts of the documents with the smallest ids that fit the budget of bytes, by id; and how many documents were read.

    Ids are hashes, so this is a uniform sample that ignores the stored order. Memory: the budget and one document.
    """
    heap: list[tuple[_Descending, str]] = []
    held = read = 0
    for document in documents:
        read += 1
        text = document["text"][:LONGEST]
        heapq.heappush(heap, (_Descending(document["id"]), text))
        held += len(text.encode("utf-8", "replace"))
        while held > budget and len(heap) > 1:
            held -= len(heapq.heappop(heap)[1].encode("utf-8", "replace"))
    return [text for _, text in sorted(heap, key=lambda item: item[0].id)], read


class _Descending:
    """An id that sorts the other way round: heapq keeps the smallest item on top, and the largest id must leave first."""

    __slots__ = ("id",)

    def __init__(self, id: str) -> None:
        self.id = id

    def __lt__(self, other: "_Descending") -> bool:
        return self.id > other.id
