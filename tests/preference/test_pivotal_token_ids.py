"""The search works on token ids from end to end.

Its best known implementation decodes a prefix and encodes it again before every probe. Where that gives other ids, it probes a prefix
that the model never drew, and a pair trains on tokens that nobody measured. Here nearly every prefix changes on that way: the model
spells byte by byte what the tokenizer would merge, says one text in two ways, and decides in the middle of a character.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from stage_bench import SPECIAL, Bench, ScriptedModel, byte_tokenizer, question, rows

from factory.preference import group, pivotal, verify
from factory.preference.pairs import Side, TokenPair, pair_record
from factory.preference.questions import Examiner
from factory.preference.search import Pivot
from factory.preference.tree import AnswerTree, Tally
from factory.sampling.api import Completion, SampleRequest, SamplingSettings
from factory.tokens.tokenizer import Tokenizer, TokenizerSpec

INPUTS = ("sft_checkpoint", "question_bank", "refusals", "benchmarks")
SECTION: dict[str, Any] = {
    "questions": 1,
    "filter_samples": 40,
    "samples": 40,
    "most_samples": 40,
    "max_new_tokens": 40,
    "figure_samples": 10,
    "roots": 40,
}
QUESTION = question("5 + 4?", "9")
Ids = tuple[int, ...]


def merging_tokenizer() -> Tokenizer:
    """Bytes, and four pairs of bytes that it never leaves apart."""
    merged = (b"So", b"An", "½".encode(), "¾".encode())
    special = {name: value + len(merged) for name, value in SPECIAL.items()}
    spec = TokenizerSpec(
        kind="trained", pattern=r"(?s:.+)", vocab_size=266, special_tokens=special, unused_tokens={"<|dummy_0|>": 265}
    )  # fmt: skip
    return Tokenizer(spec, {**byte_tokenizer().ranks, **{pair: 256 + number for number, pair in enumerate(merged)}})


TOKENIZER = merging_tokenizer()
SO = TOKENIZER.ranks[b"So"]
HALF_A_CHARACTER = tuple(b"So \xc2")
ENDINGS: dict[Ids, float] = {
    (SO, *" ½. Answer: 8".encode()): 0.2,
    tuple("So ½. Answer: 8".encode()): 0.2,
    tuple("So ¾. Answer: 8".encode()): 0.2,
    tuple("So ¼. Answer: 9".encode()): 0.4,
}


class Spelling(ScriptedModel):
    """Draws whole answers in ids, and keeps every prompt that it was given."""

    def __init__(self) -> None:
        super().__init__({}, TOKENIZER)
        self.question = self._prompt(QUESTION["text"], TOKENIZER, chat=True)
        self._endings = {self.question: {(*ids, TOKENIZER.im_end): p for ids, p in ENDINGS.items()}}
        self.prompts: set[Ids] = set()

    def sample(self, requests: Sequence[SampleRequest], settings: SamplingSettings, seed: int) -> list[list[Completion]]:
        self.prompts |= {request.prompt for request in requests}
        return super().sample(requests, settings, seed)

    def answer(self, prompt: Sequence[int]) -> Ids:
        """What stands after the question, whose own ids must be as they were."""
        assert tuple(prompt[: len(self.question)]) == self.question
        return tuple(prompt[len(self.question) :])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    TOKENIZER.save(bench.give("tokenizer"))
    bench.put("question_bank", "questions", [QUESTION])
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.put("refusals", "pairs", [])
    bench.give("sft_checkpoint").mkdir(parents=True)
    return bench


def reencoded(ids: Ids) -> Ids:
    return tuple(TOKENIZER.encode(TOKENIZER.decode(ids)))


def test_prefixes_and_pairs_hold_the_ids_that_the_model_drew(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Spelling()
    monkeypatch.setattr(group, "open_sampler", lambda *_: model)
    context = bench.context("pivotal_pairs", INPUTS, **SECTION)
    pivotal.run(context)
    probed = {model.answer(prompt) for prompt in model.prompts}
    assert all(any(ending[: len(prefix)] == prefix for ending in ENDINGS) for prefix in probed)
    assert sum(reencoded(prefix) != prefix for prefix in probed) >= 3, "decoding and encoding would have changed what is probed"
    found = {(model.answer(pair["prompt"]), *pair["chosen"], *pair["rejected"]) for pair in rows(context, "pairs")}
    assert {((), ord("S"), SO), (HALF_A_CHARACTER, 0xBC, 0xBD)} <= found
    for prefix, *tokens in found:
        for token in tokens:
            assert any(ending[: len(prefix) + 1] == (*prefix, token) for ending in ENDINGS)


def test_pairs_whose_tokens_are_parts_of_characters_are_told_apart(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded, all three tokens are the replacement character, and two pairs after one prefix read alike."""
    monkeypatch.setattr(group, "open_sampler", lambda *_: Spelling())
    context = bench.context("pivotal_pairs", INPUTS, **SECTION)
    pivotal.run(context)
    pairs = [pair for pair in rows(context, "pairs") if tuple(pair["prompt"][-4:]) == HALF_A_CHARACTER]
    assert {(*pair["chosen"], *pair["rejected"]) for pair in pairs} == {(0xBC, 0xBD), (0xBC, 0xBE)}
    assert len({pair["id"] for pair in pairs}) == 2
    assert "+b'\\xbc'\n-b'\\xbd'" in "".join(pair["text"] for pair in pairs)


def test_pairs_after_one_text_in_two_spellings_of_as_many_ids_are_told_apart() -> None:
    made = []
    for prefix in ((SO, ord("S"), ord("o")), (ord("S"), ord("o"), SO)):
        tree = AnswerTree((1,), lambda _: True, longest=9, stop=())
        before, after = tree.path((*prefix, SO))[-2:]
        test = verify.Tested(Pivot(tree, before, after, -1.0), tree, before, after)
        before.tally, after.tally = Tally(8, 1), Tally(8, 7)
        made.append(pair_record(TokenPair(test, Side(SO, -1.0, 0.9, 8), Side(ord("S"), -1.0, 0.1, 8)), QUESTION, Examiner(TOKENIZER)))
    assert made[0]["text"] == made[1]["text"]
    assert made[0]["id"] != made[1]["id"]
