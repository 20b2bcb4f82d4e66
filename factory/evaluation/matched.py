"""The stage `matched_evaluation/CHECKPOINT`: the SFT model sampled at the temperature that makes it as certain as that checkpoint.

Preference training sharpens a model, and a sharper model solves more at temperature 1 without having learnt anything: so does
any model at a lower temperature. What remains above this arm is more than sharpening. Certainty is measured by the entropy of
whole answers, H = E[-log p(answer)] in nats, by the answers that are drawn (a Monte Carlo estimate, the same random numbers at
every temperature).
"""

from collections.abc import Callable, Sequence
from itertools import islice
from statistics import fmean

from factory.context import Context
from factory.errors import SeedmillError
from factory.evaluation.candidate import Candidate
from factory.evaluation.checkpoint import COLUMNS, Examination
from factory.evaluation.config import EvaluationConfig, MatchedConfig
from factory.evaluation.records import ANSWER
from factory.evaluation.scores import score
from factory.records import Record
from factory.sampling.api import SampleRequest

LOWEST = 0.05
"""Below this temperature, sampling is greedy in all but name."""


def run(context: Context) -> None:
    """Write `answers` and `scores.json` of the SFT model at the matched temperature."""
    config = context.section(MatchedConfig)
    problems = list(islice(context.inputs["benchmarks"].records("problems", columns=COLUMNS), config.problems))
    if not problems:
        raise SeedmillError(f"{context.spec.asset}: benchmarks holds no problem; raise its number of problems")
    probe = problems[: config.probes]
    target = entropy(Candidate.open(context, config.checkpoint, config.sampling), probe, config.temperature, config, context)
    before = Candidate.open(context, config.start, config.sampling)
    temperature = matching(lambda value: entropy(before, probe, value, config, context), target, config.temperature, config.halvings)
    own = entropy(before, probe, temperature, config, context)
    answers = _answers(context, config, problems, temperature)
    context.keep(len(problems))
    context.write_records("answers", answers, ANSWER)
    context.made("answer", len(answers))
    sampled = score(answers)
    context.write_json(
        "scores.json", {"checkpoint": before.name, "temperature": temperature, "entropy": own, "target": target, "sampled": sampled}
    )
    context.metrics.update(temperature=temperature, entropy=own, target_entropy=target, sampled_accuracy=sampled["accuracy"])


def entropy(candidate: Candidate, problems: Sequence[Record], temperature: float, config: MatchedConfig, context: Context) -> float:
    """The mean of -log p(answer) over one sampled answer to each problem, in nats, under the distribution it was drawn from."""
    settings = candidate.examiner.settings(temperature, config.max_new_tokens, config.top_p)
    prompts = [candidate.prompt(problem["text"], "chat") for problem in problems]
    requests = [SampleRequest(prompt) for prompt in prompts if candidate.fits(prompt, config.max_new_tokens)]
    if not requests:
        asked = f"{len(problems)} problems and {config.max_new_tokens} new tokens"
        raise SeedmillError(f"{candidate.name} has no room for any of {asked}: lower evaluation.max_new_tokens")
    drawn = candidate.sampler.sample(requests, settings, context.seed("entropy"))
    return fmean(-sum(answer.log_probs) for (answer,) in drawn)


def matching(entropy_at: Callable[[float], float], target: float, highest: float, halvings: int) -> float:
    """The temperature in [0.05, `highest`] whose entropy is `target`, by halving; an end where the target lies beyond it."""
    low, high = LOWEST, highest
    if entropy_at(high) <= target:
        return high
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if entropy_at(middle) > target else (middle, high)
    return (low + high) / 2


def _answers(context: Context, config: MatchedConfig, problems: Sequence[Record], temperature: float) -> list[Record]:
    section = EvaluationConfig(
        checkpoint=config.start,
        temperature=temperature,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
        sampling=config.sampling,
    )
    return Examination(context, section).answer(problems, "sampled")
