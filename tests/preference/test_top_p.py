"""`top_p` of every section that samples answers reaches the sampler."""

from pathlib import Path
from typing import Any

import pytest
from stage_bench import Bench, ScriptedModel, question

from factory.context import Context
from factory.preference import group, judge, rejection, responders
from factory.preference.config import PivotalSearchConfig
from factory.sampling.api import SamplingSettings

QUESTIONS = [question(f"Question {number}?", "8") for number in range(3)]


class Recording(ScriptedModel):
    """Keeps the settings that it is asked with."""

    def __init__(self, bench: Bench) -> None:
        super().__init__({q["text"]: {"Answer: 8": 0.5, "Answer: 7": 0.5} for q in QUESTIONS}, bench.tokenizer)
        self.asked: list[SamplingSettings] = []

    def sample(self, requests: Any, settings: SamplingSettings, seed: int) -> Any:
        self.asked.append(settings)
        return super().sample(requests, settings, seed)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.put("question_bank", "questions", QUESTIONS)
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.put("refusals", "pairs", [])
    for asset in ("sft_checkpoint", "pivotal_pairs"):
        bench.give(asset).mkdir(parents=True)
    (bench.give("pivotal_pairs") / "pivots.json").write_text('{"decode_tokens": 100}')
    return bench


def context(bench: Bench, asset: str, **section: Any) -> Context:
    inputs = ("sft_checkpoint", "question_bank", "refusals", "pivotal_pairs", "benchmarks")
    return bench.context(asset, inputs, max_new_tokens=20, **section)


def test_top_p_of_each_responder_reaches_the_sampler(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Recording(bench)
    monkeypatch.setattr(responders, "open_sampler", lambda *_: model)
    panel = [{"checkpoint": "sft_checkpoint", "top_p": 0.7}, {"checkpoint": "sft_checkpoint"}]
    judge.run(context(bench, "judged_pairs", responders=panel))
    assert [settings.top_p for settings in model.asked] == [0.7, 1.0]


def test_top_p_of_the_pivotal_search_reaches_the_sampler(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "open_sampler", lambda *_: Recording(bench))
    made = context(bench, "pivotal_pairs", top_p=0.6)
    assert group.Searcher(made, made.section(PivotalSearchConfig)).settings.top_p == 0.6


def test_top_p_of_the_control_reaches_the_sampler(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Recording(bench)
    monkeypatch.setattr(rejection, "open_sampler", lambda *_: model)
    rejection.run(context(bench, "rejection_pairs", top_p=0.8, filter_samples=4, round_questions=2))
    assert {settings.top_p for settings in model.asked} == {0.8}
