"""The stage `rejection_pairs`: the control of the ablation, pairs of right and wrong whole answers.

Pivotal token search must be compared with what the same sampling buys without it. So this stage takes the questions of the
same window and samples whole answers until it has decoded as many tokens as the search did.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial

from factory.context import Context
from factory.preference.checker import open_grader
from factory.preference.config import RejectionConfig
from factory.preference.models import open_sampler
from factory.preference.oracles import VERSIONS
from factory.preference.questions import Examiner, draw_questions, fitting
from factory.preference.records import preference_pair
from factory.preference.rounds import Rounds
from factory.preference.verdicts import Verdicts
from factory.records import Record
from factory.sampling.api import Completion, SampleRequest
from factory.schemas import PAIR
from factory.tokens.tokenizer import load

CREATED_BY = "rejection_sampling@1"


def run(context: Context) -> None:
    """Write `pairs` and the report `rejection.json`; questions that the budget did not reach count as dropped."""
    config = context.section(RejectionConfig)
    budget = context.inputs["pivotal_pairs"].json("pivots.json")["decode_tokens"]
    examiner = Examiner(load(context.inputs["tokenizer"].path))
    rounds = Rounds(open_sampler(context, "sft_checkpoint", config.sampling), context.parts, context.seed)
    verdicts = Verdicts(examiner, open_grader(context, config.checker), context, "", config.max_new_tokens)
    questions = fitting(context, draw_questions(context, config.questions), examiner, config.max_new_tokens)
    pairs = list(_pairs(context, config, examiner, rounds, verdicts, questions, budget))
    report = {"budget": budget, "decode_tokens": rounds.usage.decode_tokens, "pairs": len(pairs)}
    context.made("pairs", len(pairs))
    context.metrics.update(report, oracles=VERSIONS)
    context.write_records("pairs", pairs, PAIR)
    context.write_json("rejection.json", report)


def _pairs(
    context: Context,
    config: RejectionConfig,
    examiner: Examiner,
    rounds: Rounds,
    verdicts: Verdicts,
    questions: Sequence[Record],
    budget: int,
) -> Iterator[Record]:
    """The pairs of the questions that the budget reaches, round by round; the last round may pass it by less than its own cost."""
    settings = examiner.settings(config.temperature, config.max_new_tokens, config.top_p)
    draw = verdicts.watching(partial(rounds.draw, settings=settings))
    for start in range(0, len(questions), config.round_questions):
        if rounds.usage.decode_tokens >= budget:
            context.drop("beyond the budget", len(questions) - start)
            return
        group = questions[start : start + config.round_questions]
        prompts = [examiner.prompt(question["text"]) for question in group]
        grades = [verdicts.of(question) for question in group]
        answers = draw([SampleRequest(prompt, config.filter_samples) for prompt in prompts])
        for question, prompt, grade, drawn in zip(group, prompts, grades, answers, strict=True):
            yield from _of_question(context, config, examiner, question, prompt, [(one, grade(one.tokens)) for one in drawn])
        context.progress(min(rounds.usage.decode_tokens, budget), budget, "tokens")


def _of_question(
    context: Context,
    config: RejectionConfig,
    examiner: Examiner,
    question: Record,
    prompt: tuple[int, ...],
    graded: Sequence[tuple[Completion, bool]],
) -> Iterator[Record]:
    """Right and wrong answers side by side, as often as both last."""
    right = [answer.tokens for answer, verdict in graded if verdict]
    wrong = [answer.tokens for answer, verdict in graded if not verdict]
    success = len(right) / len(graded)
    if not config.lowest_success <= success <= config.highest_success:
        context.drop("too easy" if success > config.highest_success else "too hard")
        return
    context.keep()
    for number, (chosen, rejected) in enumerate(list(zip(right, wrong, strict=False))[: config.pairs_per_question]):
        yield preference_pair(
            question,
            kind="rejection_sampled",
            created_by=CREATED_BY,
            text=f"{question['text']}\n+ {examiner.text(chosen)}\n- {examiner.text(rejected)}",
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            evidence=json.dumps({"success": success, "samples": len(graded)}),
            part=f"pair-{number}",
        )
