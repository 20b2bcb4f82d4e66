"""How far a checkpoint has moved from the one that preference training began with.

A rise in accuracy that costs much divergence is often bought with something else, and at a large one the log-probabilities that
preference training rests on say little about what the model writes now (Gao, Schulman, Hilton 2022).
"""

from collections.abc import Sequence
from math import expm1
from statistics import fmean, stdev

from factory.errors import SeedmillError
from factory.evaluation.candidate import Candidate
from factory.evaluation.scores import Score
from factory.sampling.api import SampleRequest


def divergence(candidate: Candidate, reference: Candidate, prompts: Sequence[tuple[int, ...]], *, max_new_tokens: int, seed: int) -> Score:
    """KL(candidate || reference) in nats, estimated on one answer of the candidate to each prompt at temperature 1.

    For each token that the candidate wrote, r - 1 - log r with r the ratio of the reference's chance to its own: the same
    expectation as -log r, never negative, and far less noise (Schulman, Approximating KL divergence, 2020).
    """
    if len(prompts) < 2:
        raise SeedmillError(f"the divergence of {candidate.name} from {reference.name} needs two problems or more, not {len(prompts)}")
    settings = candidate.examiner.settings(1.0, max_new_tokens)
    drawn = candidate.sampler.sample([SampleRequest(prompt) for prompt in prompts], settings, seed)
    answers = [found[0].tokens for found in drawn]
    sequences = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    scored = (one.sampler.log_probs(sequences) for one in (candidate, reference))
    distances = [
        sum(_distance(theirs - ours) for ours, theirs in zip(own[-len(answer) :], other[-len(answer) :], strict=True))
        for answer, own, other in zip(answers, *scored, strict=True)
    ]
    return {
        "reference": reference.name,
        "per_answer": fmean(distances),
        "standard_error": stdev(distances) / len(distances) ** 0.5,
        "per_token": sum(distances) / sum(map(len, answers)),
        "answers": len(answers),
    }


def _distance(log_ratio: float) -> float:
    return expm1(log_ratio) - log_ratio
