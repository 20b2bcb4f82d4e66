"""Groups of questions: several ranks divide them, quotas bound what they find, and neither changes what one rank finds."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from stage_bench import Bench, ScriptedModel, digests, question, rows
from transformers import Phi3Config, Phi3ForCausalLM

from factory.context import Context
from factory.preference import group, pivotal
from factory.preference.config import PivotalSearchConfig
from factory.records import new_record

INPUTS = ("sft_checkpoint", "question_bank", "refusals", "benchmarks")
SECTION = {
    "questions": 10, "questions_together": 2, "filter_samples": 20, "samples": 20, "most_samples": 20, "max_new_tokens": 40,
    "figure_samples": 10,
}  # fmt: skip
TEXTS = {"So it is. Answer: 8": 0.5, "Say. Answer: 9": 0.4, "So it is. Answer: 7": 0.1}
QUESTIONS = [question(f"Question {i}: 5 + 3?", "8", "code" if i in {2, 5} else "story") for i in range(7)]
REFUSALS = [
    new_record(
        source="trivia", locator=str(i), text=f"r{i}", kind="refusal_pair", created_by="test@1",
        domain="unknown + safety", question="q", prompt=[1], chosen=[2, 3], rejected=[4], evidence="{}",
    )
    for i in range(3)
]  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    bench.put("question_bank", "questions", QUESTIONS)
    bench.put("benchmarks", "problems", [question("Held out?", "1")])
    bench.put("refusals", "pairs", REFUSALS)
    bench.give("sft_checkpoint").mkdir(parents=True)
    script = {q["text"]: TEXTS for q in QUESTIONS}
    monkeypatch.setattr(group, "open_sampler", lambda *_: ScriptedModel(script, bench.tokenizer))
    return bench


def search(bench: Bench, attempt: str, *previous: str, **section: object) -> Context:
    context = bench.context("pivotal_pairs", INPUTS, attempt=attempt, previous=previous, **{**SECTION, **section})
    pivotal.run(context)
    return context


def domains(context: Context) -> Counter[str]:
    return Counter(pair["domain"] for pair in rows(context, "pairs"))


@pytest.mark.parametrize("world", [2, 3])
def test_several_ranks_find_what_one_finds(bench: Bench, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    alone = search(bench, "alone")
    monkeypatch.setenv("WORLD_SIZE", str(world))
    for rank in reversed(range(world)):  # the first puts together what the others left
        monkeypatch.setenv("RANK", str(rank))
        together = search(bench, "together")
        assert bool(together.outputs) == (rank == 0)
    assert digests(together) == digests(alone)
    assert together.result().counts == alone.result().counts
    assert together.metrics == alone.metrics


def test_a_rank_that_is_killed_leaves_its_groups_to_the_next_attempt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = search(bench, "alone")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    search(bench, "killed")  # and rank 0 never got so far
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    asked = []
    searched = group.GroupSearch.run
    monkeypatch.setattr(group.GroupSearch, "run", lambda self, questions: asked.append(len(questions)) or searched(self, questions))
    resumed = bench.context("pivotal_pairs", INPUTS, attempt="resumed", previous=["killed"], **SECTION)
    pivotal.run(resumed)
    assert asked == [2, 2]  # of the groups 0 to 3 of 2, 2, 2 and 1 questions, those of rank 0
    assert digests(resumed) == digests(alone)


@pytest.mark.parametrize("damage", ["cut", "emptied", "changed"])
def test_a_group_whose_part_was_damaged_is_searched_again(bench: Bench, damage: str) -> None:
    """Read as it is, it would end every later attempt; a pair that was changed in it would be trained on."""
    whole = search(bench, "whole")
    part = bench.folder / "pivotal_pairs-whole" / "parts" / "group-00001.json"
    data = part.read_bytes()
    part.write_bytes({"cut": data[: len(data) // 2], "emptied": b"", "changed": data.replace(b'"chosen":[', b'"chosen":[1', 1)}[damage])
    assert digests(search(bench, "next", "whole")) == digests(whole)


def test_a_quota_cuts_a_domain_and_counts_what_is_beyond_it(bench: Bench) -> None:
    free = search(bench, "free")
    found = domains(free)
    assert found["math"] > 2
    cut = search(bench, "cut", quotas={"math": 2, "unknown + safety": 1})
    assert domains(cut) == {**found, "math": 2, "unknown + safety": 1}
    assert cut.metrics["beyond_limits"] == found["math"] - 2
    assert cut.metrics["pairs"] == cut.counts.made["pairs"] == found["python"] + 2
    assert cut.result().counts.dropped == {"beyond the quota": 2}
    assert {pair["id"] for pair in rows(cut, "pairs")} < {pair["id"] for pair in rows(free, "pairs")}


def test_pairs_of_one_choice_are_limited_and_the_report_says_how_alike_they_are(bench: Bench) -> None:
    free, varied = search(bench, "free"), search(bench, "varied", most_alike=2)
    alike = Counter(pivotal.choice(pair) for pair in rows(free, "pairs") if pair["kind"] == "pivotal_token")
    assert max(alike.values()) > 2
    assert free.metrics["commonest_choice_share"] == max(alike.values()) / sum(alike.values())
    kept = Counter(pivotal.choice(pair) for pair in rows(varied, "pairs") if pair["kind"] == "pivotal_token")
    assert kept == Counter({choice: min(2, number) for choice, number in alike.items()})
    assert varied.metrics["beyond_limits"] == sum(alike.values()) - sum(kept.values())


def test_once_a_quota_is_filled_its_domain_is_no_longer_searched(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pivotal, "LOOK_BACK", 1)
    free, cut = search(bench, "free"), search(bench, "cut", quotas={"math": 1})
    skipped = cut.result().counts.dropped["domain filled"]
    assert 0 < skipped <= 5
    assert cut.metrics["questions"] == len(QUESTIONS) - skipped
    assert cut.metrics["decode_tokens"] < free.metrics["decode_tokens"]
    assert domains(cut)["python"] > 0
    assert domains(cut)["math"] == 1


def test_what_fills_a_quota_is_read_once_and_not_for_each_later_group(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pivotal, "LOOK_BACK", 1)
    read: list[int] = []
    whole = pivotal.Groups._read
    monkeypatch.setattr(pivotal.Groups, "_read", lambda groups, number, data: read.append(number) or whole(groups, number, data))
    search(bench, "counted", quotas={"math": 1})
    assert sorted(read) == [0, 0, 1, 1, 2, 2, 3], "for the quotas, and to put all together"


@pytest.mark.parametrize("quotas", [{"maths": 3}, {"math": -1}])
def test_a_quota_for_no_domain_or_below_zero_is_one_clear_error(quotas: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"give numbers from 0 for some of the domains \['general', 'math', 'multiple choice'"):
        PivotalSearchConfig(quotas=quotas)


def test_processes_of_their_own_end_with_the_same_digests(bench: Bench) -> None:
    model = Phi3ForCausalLM(
        Phi3Config(
            vocab_size=264, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
            max_position_embeddings=128, pad_token_id=260, eos_token_id=258, bos_token_id=None, sliding_window=None,
        )
    )  # fmt: skip
    torch.manual_seed(1)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    model.save_pretrained(bench.give("sft_checkpoint") / "hf")
    section = {"lowest_success": 0, "highest_success": 1, "max_new_tokens": 8, "figure_samples": 2, "sampling": {"dtype": "float32"}}
    one, two = (run_as_job(bench, str(number), number, {**SECTION, **section}) for number in (1, 2))
    assert {output["name"] for output in one["outputs"]} == {"pairs", "answers.jsonl", "pivots.json"}
    assert [output["digest"] for output in two["outputs"]] == [output["digest"] for output in one["outputs"]]
    assert two["counts"] == one["counts"]


def run_as_job(bench: Bench, attempt: str, processes: int, section: dict[str, object]) -> dict:
    spec = bench.context("pivotal_pairs", INPUTS, attempt=attempt, **section).spec
    spec = spec.model_copy(update={"run": "factory.preference.pivotal:run", "processes": processes})
    job = Path(spec.folder) / "job.json"
    job.write_text(spec.model_dump_json())
    subprocess.run([sys.executable, "-m", "factory.job", str(job)], check=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return json.loads((Path(spec.folder) / "result.json").read_text())
