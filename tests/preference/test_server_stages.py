"""Stages that sample through a completions server, chosen in their section: from recipe to record, and again after a failure."""

import sys
from pathlib import Path
from typing import Any

import pytest
from stage_bench import Bench, digests, question, rows

from factory.errors import SeedmillError
from factory.evaluation import checkpoint as evaluation
from factory.preference import judge

sys.path.append(str(Path(__file__).parents[1] / "sampling"))
from completions_server import CompletionsServer, Json

QUESTIONS = [question(f"Question {number}?", str(number)) for number in range(1, 7)]
NAME = "sft_checkpoint@v"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.put("question_bank", "questions", QUESTIONS)
    bench.put("benchmarks", "problems", [question("Held out 1?", "1"), question("Held out 2?", "2")])
    bench.put("refusals", "pairs", [])
    bench.give("sft_checkpoint").mkdir(parents=True)
    return bench


def model(bench: Bench) -> Any:
    """States the number in the question, or 99, by the seed of the request; greedily the number."""

    def draw(body: Json) -> list[int]:
        prompt = bench.tokenizer.decode(body["prompt"])
        number = next(c for c in prompt if c.isdigit())
        right = body["temperature"] == 0 or body["seed"] % 2
        return [*bench.tokenizer.encode(f"Answer: {number if right else 99}"), bench.tokenizer.im_end]

    return draw


def sampling(server: CompletionsServer) -> dict[str, Any]:
    return {"engine": "server", "kind": "vllm", "address": {"base_url": server.url, "max_retries": 0, "max_concurrency": 1}}


def judging(bench: Bench, server: CompletionsServer, attempt: str, *previous: str) -> Any:
    section = {"max_new_tokens": 40, "round_questions": 2, "responders": [{"checkpoint": "sft_checkpoint", "answers": 6}]}
    inputs = ("sft_checkpoint", "question_bank", "refusals", "benchmarks")
    context = bench.context("judged_pairs", inputs, attempt=attempt, previous=previous, sampling=sampling(server), **section)
    judge.run(context)
    return context


def test_judging_goes_on_after_the_server_was_lost_and_repeats_at_most_a_round(bench: Bench) -> None:
    with CompletionsServer(model(bench), bench.tokenizer, name=NAME) as server:
        whole = judging(bench, server, "whole")
        all_requests = len(server.asked)
    assert all_requests == 6 * len(QUESTIONS)
    assert 1 <= len(rows(whole, "pairs")) <= len(QUESTIONS)
    with CompletionsServer(model(bench), bench.tokenizer, name=NAME, statuses=(200,) * 20 + (503,)) as server:
        with pytest.raises(SeedmillError, match="still answered 503"):
            judging(bench, server, "lost")
        asked = len(server.asked)
        resumed = judging(bench, server, "resumed", "lost")
        assert len(server.asked) - asked == all_requests - 12, "one round of two questions was finished"
    assert digests(resumed) == digests(whole)


def test_a_checkpoint_is_examined_through_a_server(bench: Bench) -> None:
    with CompletionsServer(model(bench), bench.tokenizer, name=NAME) as server:
        section = {"checkpoint": "sft_checkpoint", "max_new_tokens": 40, "sampling": sampling(server)}
        context = bench.context("evaluation/sft_checkpoint".replace("/", "-"), ("sft_checkpoint", "benchmarks"), **section)
        evaluation.run(context)
    assert context.metrics["greedy_accuracy"] == 1.0
    assert {row["checkpoint"] for row in rows(context, "answers")} == {NAME}
