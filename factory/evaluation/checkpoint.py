"""The stage `evaluation/CHECKPOINT`: every held-out problem, once greedily and once by sampling.

Base checkpoints know no chat, so they continue the exercise format of pretraining (the paper too grades base models by a
framework of its own, section 3, because they fail strict formats). Success is what the preference stages call success: one
oracle serves both.
"""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from factory.context import Context
from factory.errors import SeedmillError
from factory.evaluation.candidate import Candidate
from factory.evaluation.config import EvaluationConfig
from factory.evaluation.divergence import divergence
from factory.evaluation.records import ANSWER, MODES, Mode, Reply, answer_record, style_of
from factory.evaluation.refusal import RULE, verdict
from factory.evaluation.scores import VERDICTS, Score, grouped, score, three_way
from factory.preference.checker import open_grader
from factory.preference.grading import Submission
from factory.preference.oracles import VERSIONS
from factory.preference.trivia_records import base_prompt, names_answer
from factory.records import Record

COLUMNS = ["id", "text", "license", "language", "kind", "family", "answer"]
NEXT_EXERCISE = "\nExercise."
SCORED_ANSWERS = 256
BENCHMARK, TRIVIA = "benchmark_answer", "trivia_answer"


def run(context: Context) -> None:
    """Write `answers` (one record a problem and mode) and `scores.json`; memory grows with the number of problems."""
    config = context.section(EvaluationConfig)
    problems = list(islice(context.inputs["benchmarks"].records("problems", columns=COLUMNS), config.problems))
    if not problems:
        raise SeedmillError(f"{context.spec.asset}: benchmarks holds no problem; raise its number of problems")
    examination = Examination(context, config)
    answers = {mode: examination.answer(problems, mode) for mode in MODES}
    context.keep(len(problems))
    scores: dict[str, Any] = {"checkpoint": examination.candidate.name, "prompt": config.prompt} | {
        m: score(rows) for m, rows in answers.items()
    }
    rows = [row for mode in MODES for row in answers[mode]]
    if "refusals" in context.inputs:
        trivia = examination.trivia()
        context.keep(len(trivia))
        scores["trivia"] = trivia_scores(trivia)
        rows += trivia
    if config.reference is not None:
        scores["divergence"] = examination.divergence(problems[:SCORED_ANSWERS], config.reference)
    context.write_records("answers", rows, ANSWER)
    context.made("answer", len(rows))
    context.write_json("scores.json", scores)
    context.metrics.update(headline(scores), **asdict(examination.candidate.sampler.usage), oracles=VERSIONS | RULE)


class Examination:
    """One checkpoint and the settings of its examination."""

    def __init__(self, context: Context, config: EvaluationConfig) -> None:
        self.context, self.config = context, config
        self.candidate = Candidate.open(context, config.checkpoint, config.sampling)
        self._grader = open_grader(context, config.checker)

    def answer(self, questions: Sequence[Record], mode: Mode, kind: str = BENCHMARK) -> list[Record]:
        """One graded answer to each question."""
        prompts = [self.candidate.prompt(question["text"], self.config.prompt) for question in questions]
        return self._answers(questions, prompts, mode, kind)

    def trivia(self) -> list[Record]:
        """A graded greedy answer to each trivia question that was held out; a base model is asked as it was for the refusals."""
        refusals = self.context.inputs["refusals"]
        questions = list(refusals.records("questions", columns=COLUMNS))
        if self.config.prompt == "chat":
            return self.answer(questions, "greedy", TRIVIA)
        examples = [(row["text"], row["answer"]) for row in refusals.records("examples", columns=COLUMNS)]
        tokenizer = self.candidate.tokenizer
        prompts = [(tokenizer.eod, *tokenizer.encode(base_prompt(row["text"], row["kind"], examples))) for row in questions]
        return self._answers(questions, prompts, "greedy", TRIVIA)

    def _answers(self, questions: Sequence[Record], prompts: Sequence[tuple[int, ...]], mode: Mode, kind: str) -> list[Record]:
        config, seed = self.config, self.context.seed(f"{kind} {mode}")
        temperature = 0.0 if mode == "greedy" else config.temperature
        asked = self.candidate.ask(prompts, temperature=temperature, max_new_tokens=config.max_new_tokens, seed=seed, top_p=config.top_p)
        replies = [reply for (reply,) in asked]
        right = self._right(questions, [_own_part(reply) for reply in replies], kind)
        return [self._record(*one, mode, kind) for one in zip(questions, replies, right, strict=True)]

    def _right(self, questions: Sequence[Record], texts: Sequence[str], kind: str) -> list[bool]:
        """Benchmarks are graded; trivia by whether the answer is named."""
        if kind == TRIVIA:
            return [names_answer(text, question["answer"]) for question, text in zip(questions, texts, strict=True)]
        return self._grader([Submission(row["text"], text, row["answer"]) for row, text in zip(questions, texts, strict=True)])

    def _record(self, question: Record, reply: Reply, right: bool, mode: Mode, kind: str) -> Record:
        return answer_record(
            question,
            reply,
            checkpoint=self.candidate.name,
            mode=mode,
            kind=kind,
            family=question["family"],
            correct=right,
            style=style_of(_own_part(reply)),
        )

    def divergence(self, questions: Sequence[Record], reference: str) -> Score:
        """How far the checkpoint has moved from `reference`, on its answers to the questions."""
        config = self.config
        asked = [self.candidate.prompt(question["text"], config.prompt) for question in questions]
        prompts = [prompt for prompt in asked if self.candidate.fits(prompt, config.max_new_tokens)]
        origin = Candidate.open(self.context, reference, config.sampling)
        seed = self.context.seed("divergence")
        return divergence(self.candidate, origin, prompts, max_new_tokens=config.max_new_tokens, seed=seed)


def _own_part(reply: Reply) -> str:
    """What a reply says before a base model goes on to the next exercise."""
    return reply.text.split(NEXT_EXERCISE)[0]


def trivia_scores(answers: Sequence[Record]) -> Score:
    """The three-way metric, in all and for answerable and unanswerable questions."""
    verdicts = {row["id"]: verdict(row["text"], row["correct"]) for row in answers}
    families = {name: three_way([verdicts[row["id"]] for row in group]) for name, group in grouped(answers, "family").items()}
    return {**three_way(list(verdicts.values())), "families": families}


def headline(scores: Score) -> dict[str, float]:
    """The few numbers for the manifest."""
    numbers = {f"{mode}_{key}": scores[mode][key] for mode in MODES for key in ("accuracy", "low", "high")}
    if "divergence" in scores:
        numbers |= {"divergence": scores["divergence"]["per_answer"], "divergence_per_token": scores["divergence"]["per_token"]}
    if "trivia" in scores:
        asked = {"trivia": scores["trivia"], **{f"trivia_{name}": score for name, score in scores["trivia"]["families"].items()}}
        numbers |= {f"{name}_{verdict.replace(' ', '_')}": score[verdict] for name, score in asked.items() for verdict in VERDICTS}
    return numbers
