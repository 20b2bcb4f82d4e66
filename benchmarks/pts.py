"""The cost of a true pivotal pair: our search beside the published one, on the same SFT model and the same questions.

Both see the same questions, temperature and top-p, in one run with one thread. Tokens are all that went through the model,
prefill and decode, our own filter and verification included. A referee of 200 fresh rollouts at every boundary, counted for
neither, says which pairs are true: the pivot changes p(success) by three quarters of the gap or more. Run as
`make bench-pts`, or `python benchmarks/pts.py --recipe RECIPE [--questions N]`; the experiment must hold an SFT checkpoint.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow.parquet as pq
import torch
from machine import surroundings
from published_pts import SAMPLES, Engine, PublishedSearch, Tokens
from rich.console import Console
from rich.table import Table
from transformers import Phi3ForCausalLM

from factory.cli.session import Session
from factory.preference.config import PivotalSearchConfig
from factory.preference.group import plant, rules, trial
from factory.preference.oracles import answer_is_correct
from factory.preference.pairs import pairs_of
from factory.preference.questions import Examiner
from factory.preference.search import Branch, explore, sample
from factory.preference.tree import AnswerTree, Grade, Node
from factory.preference.verify import verify
from factory.records import Record
from factory.sampling.api import Completion, SampleRequest
from factory.sampling.local import LocalSampler
from factory.tokens.tokenizer import load

RESULTS = Path(__file__).parent / "results" / "pts.json"
REFEREE = 200
SEED = 0
TOKENS_BAR, TOKENS_GOAL, WALL_BAR = 1 / 3, 1 / 5, 1 / 10


@dataclass(frozen=True)
class Pair:
    """A pair of one question: after `prefix`, `pivot` is the token of the searched answer."""

    question: int
    prefix: Tokens
    pivot: int
    chosen: int
    rejected: int


@dataclass
class Run:
    """What a search found, and what it took."""

    pairs: list[Pair]
    prefill_tokens: int
    decode_tokens: int
    wall_seconds: float
    cpu_seconds: float

    @property
    def tokens(self) -> int:
        return self.prefill_tokens + self.decode_tokens


class Bench:
    """The questions, the oracle, and the model for both engines."""

    def __init__(self, session: Session, questions: int) -> None:
        self.config: PivotalSearchConfig = session.recipe.preference.pivotal
        folders = {name: session.store.outputs(session.resolve(name)) for name in ("tokenizer", "question_bank", "sft_checkpoint")}
        self.hf = folders["sft_checkpoint"] / "hf"
        self.examiner = Examiner(load(folders["tokenizer"]))
        self.settings = self.examiner.settings(self.config.temperature, self.config.max_new_tokens, self.config.top_p)
        self.questions = drawn(folders["question_bank"] / "questions", questions)
        self.prompts = [self.examiner.prompt(question["text"]) for question in self.questions]

    def grade(self, number: int) -> Grade:
        return lambda answer: answer_is_correct(self.examiner.text(answer), self.questions[number]["answer"])

    def tree(self, number: int) -> AnswerTree:
        return AnswerTree(self.prompts[number], self.grade(number), longest=self.config.max_new_tokens, stop=self.examiner.stop)

    def in_window(self, success: float) -> bool:
        return self.config.lowest_success <= success <= self.config.highest_success

    def sampler(self) -> LocalSampler:
        return LocalSampler.load(self.hf, self.config.sampling)


class Drawing:
    """A sampler whose every call has a seed of its own."""

    def __init__(self, bench: Bench, seed: int) -> None:
        self.sampler, self.settings, self.seed = bench.sampler(), bench.settings, seed

    def __call__(self, requests: Sequence[SampleRequest]) -> list[list[Completion]]:
        self.seed += 1
        return self.sampler.sample(requests, self.settings, self.seed)


def drawn(folder: Path, number: int) -> list[Record]:
    records = [record for part in sorted(folder.glob("*.parquet")) for record in pq.read_table(part).to_pylist()]
    return random.Random(SEED).sample(sorted(records, key=lambda record: record["id"]), number)


def ours(bench: Bench) -> Run:
    """The stage's own steps with the recipe's own section."""
    config, draw = bench.config, Drawing(bench, SEED)
    wall, cpu = time.perf_counter(), time.process_time()
    lots = random.Random(SEED)
    branches: list[Branch] = []
    number_of: dict[int, int] = {}
    answers = draw([SampleRequest(prompt, config.filter_samples) for prompt in bench.prompts])
    for number, completions in enumerate(answers):
        tree = bench.tree(number)
        if bench.in_window(sum(tree.grade(tree.root, answer) for answer in completions) / len(completions)):
            number_of[id(tree)] = number
            branches.extend(plant(tree, completions, config.roots, lots, reuse=config.reuse))
    list(explore(branches, rules(config), draw))
    found = pairs_of(verify([pivot for branch in branches for pivot in branch.pivots], trial(config), draw), config.gap)
    spent = (time.perf_counter() - wall, time.process_time() - cpu)
    pairs = [
        Pair(number_of[id(p.test.pivot.tree)], p.test.before.prefix, p.test.pivot.token, p.chosen.token, p.rejected.token) for p in found
    ]
    return Run(pairs, draw.sampler.usage.prefill_tokens, draw.sampler.usage.decode_tokens, *spent)


def published(bench: Bench) -> Run:
    """The published algorithm, with as many searched answers of each question: the first of its filter's samples."""
    model = Phi3ForCausalLM.from_pretrained(bench.hf, dtype=getattr(torch, bench.config.sampling.dtype)).eval()
    engine = Engine(model, bench.settings, bench.examiner.tokenizer.pad)
    torch.manual_seed(SEED)
    wall, cpu = time.perf_counter(), time.process_time()
    pairs: dict[Pair, None] = {}
    for number, prompt in enumerate(bench.prompts):
        search = PublishedSearch(engine, prompt, bench.grade(number))
        rollouts = engine.sample(prompt, bench.settings.max_new_tokens)
        search.record((), rollouts)
        if bench.in_window(search.success(())):
            for answer in rollouts[: bench.config.roots]:
                pairs.update(dict.fromkeys(Pair(number, p.prefix, p.pivot, p.chosen, p.rejected) for p in search.pairs(answer)))
    spent = (time.perf_counter() - wall, time.process_time() - cpu)
    return Run(list(pairs), engine.usage.prefill_tokens, engine.usage.decode_tokens, *spent)


def referee(bench: Bench, runs: Sequence[Run]) -> dict[Pair, tuple[float, float]]:
    """For every pair of any run: the change of p(success) by its pivot, and from its rejected to its chosen token."""
    trees: dict[int, AnswerTree] = {}
    pairs = sorted({pair for run in runs for pair in run.pairs}, key=lambda pair: (pair.question, pair.prefix, pair.pivot))
    nodes: dict[Pair, list[Node]] = {}
    for pair in pairs:
        tree = trees.setdefault(pair.question, bench.tree(pair.question))
        nodes[pair] = [tree.path((*pair.prefix, *end))[-1] for end in ((), (pair.pivot,), (pair.chosen,), (pair.rejected,))]
    wanted = {id(node): (trees[pair.question], node, REFEREE) for pair in pairs for node in nodes[pair]}
    sample(list(wanted.values()), Drawing(bench, SEED + 1_000_000), reuse=False)
    return {
        pair: (after.success - before.success, chosen.success - rejected.success)
        for pair, (before, after, chosen, rejected) in nodes.items()
    }


def figures(run: Run, judged: dict[Pair, tuple[float, float]], least: float) -> dict[str, Any]:
    """What a true pair cost; a true contrast asks the same of the pair's two tokens.

    A pair that was found from either of its tokens counts once, with the larger change.
    """
    found: dict[tuple[int, Tokens, int, int], tuple[float, float]] = {}
    for pair in sorted(run.pairs, key=lambda pair: abs(judged[pair][0])):
        found[pair.question, pair.prefix, pair.chosen, pair.rejected] = judged[pair]
    true = sum(abs(change) >= least for change, _ in found.values())
    contrasts = sum(contrast >= least for _, contrast in found.values())
    return {
        "pairs": len(found), "true_pairs": true, "precision": true / len(found), "true_contrasts": contrasts,
        "contrast_precision": contrasts / len(found), "prefill_tokens": run.prefill_tokens, "decode_tokens": run.decode_tokens,
        "tokens_per_true_pair": run.tokens / true, "wall_seconds": run.wall_seconds, "cpu_seconds": run.cpu_seconds,
        "wall_seconds_per_true_pair": run.wall_seconds / true,
    }  # fmt: skip


def bars(mine: dict[str, Any], theirs: dict[str, Any]) -> list[dict[str, Any]]:
    tokens = mine["tokens_per_true_pair"] / theirs["tokens_per_true_pair"]
    wall = mine["wall_seconds"] / theirs["wall_seconds"]
    return [
        {
            "name": "tokens per true pair, share of the published search's",
            "value": tokens,
            "goal": TOKENS_BAR,
            "holds": tokens <= TOKENS_BAR,
        },
        {"name": "the same, goal", "value": tokens, "goal": TOKENS_GOAL, "holds": tokens <= TOKENS_GOAL},
        {"name": "wall time, share of the published search's", "value": wall, "goal": WALL_BAR, "holds": wall <= WALL_BAR},
        {"name": "precision", "value": mine["precision"], "goal": theirs["precision"], "holds": mine["precision"] >= theirs["precision"]},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/laptop.yaml"))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--questions", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(Session.open(options.recipe, options.seed), options.questions)
    before = surroundings("torch", "transformers", "numpy")
    runs = {"seedmill": ours(bench), "published": published(bench)}
    judged = referee(bench, list(runs.values()))
    results = {name: figures(run, judged, 0.75 * bench.config.gap) for name, run in runs.items()}
    shown = Table("", *runs, title=f"{options.questions} questions, {SAMPLES} samples an estimate in the published search")
    for name in results["seedmill"]:
        shown.add_row(
            name, *(f"{result[name]:,.3g}" if isinstance(result[name], float) else f"{result[name]:,}" for result in results.values())
        )
    console = Console()
    console.print(shown)
    held = bars(results["seedmill"], results["published"])
    for bar in held:
        console.print(bar, highlight=False)
    samples = {name: [{**asdict(pair), "referee": judged[pair]} for pair in run.pairs] for name, run in runs.items()}
    result = {
        **before, "settings": bench.config.model_dump(mode="json"), "questions": options.questions, "results": results,
        "samples": samples, "bars": held,
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
