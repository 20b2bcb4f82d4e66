"""Questions at the edges of the window are searched (paper, section 4.3: 0.2 <= p(success) <= 0.8), those beyond it are dropped by name.

An oracle that accepts everything, or nothing, must not end in a search that found no pivot and seems to have gone well.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from stage_bench import Bench, ScriptedModel, question

from factory.context import Context
from factory.preference import group, pivotal, rejection
from factory.sampling.api import Completion, SampleRequest, SamplingSettings

INPUTS = ("sft_checkpoint", "question_bank", "refusals", "benchmarks", "pivotal_pairs")
RIGHT, WRONG = "So. Answer: 8", "Say. Answer: 9"
QUESTION = question("5 + 3?", "8")
SECTION = {"questions": 1, "filter_samples": 20, "max_new_tokens": 40}
SAMPLES = 20


class InProportion(ScriptedModel):
    """Gives so many right answers of every 20 to the whole question, and else draws."""

    def __init__(self, bench: Bench, right: int) -> None:
        texts = {RIGHT: right / SAMPLES, WRONG: 1 - right / SAMPLES}
        super().__init__({QUESTION["text"]: {text: p for text, p in texts.items() if p}}, bench.tokenizer)
        self._whole = tuple(bench.tokenizer.encode_chat([{"role": "user", "content": QUESTION["text"]}]))

    def sample(self, requests: list[SampleRequest], settings: SamplingSettings, seed: int) -> list[list[Completion]]:  # type: ignore[override]
        drawn = super().sample(requests, settings, seed)
        return [self._dealt() if (r.prompt, r.count) == (self._whole, SAMPLES) else own for r, own in zip(requests, drawn, strict=True)]

    def _dealt(self) -> list[Completion]:
        texts = self._endings[self._whole]
        return [Completion(ids, (-0.1,) * len(ids), stopped=True) for ids, p in texts.items() for _ in range(round(p * SAMPLES))]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.put("question_bank", "questions", [QUESTION])
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.put("refusals", "pairs", [])
    bench.give("sft_checkpoint").mkdir(parents=True)
    bench.give("pivotal_pairs").mkdir(parents=True)
    (bench.give("pivotal_pairs") / "pivots.json").write_text('{"decode_tokens": 1000}')
    return bench


@pytest.mark.parametrize("stage", [pivotal.run, rejection.run])
@pytest.mark.parametrize(
    ("right", "counts"),
    [
        (0, (0, {"too hard": 1})),
        (3, (0, {"too hard": 1})),
        (4, (1, {})),
        (16, (1, {})),
        (17, (0, {"too easy": 1})),
        (20, (0, {"too easy": 1})),
    ],
)
def test_the_edges_belong_to_the_window(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, stage: Callable[[Context], None], right: int, counts: tuple[int, dict[str, int]]
) -> None:
    for module in (group, rejection):
        monkeypatch.setattr(module, "open_sampler", lambda *_: InProportion(bench, right))
    context = bench.context("stage", INPUTS, **SECTION)
    stage(context)
    assert (context.counts.kept, context.counts.dropped) == counts
