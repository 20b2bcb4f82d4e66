"""What rollouts say about a change of p(success), and how sure they make us.

A rollout from the start of a piece either follows the piece to its end or leaves it, and the chance that it follows is known
exactly: it is the product `follow` of the model's own token probabilities. So, with `after` and `beside` the chances of
success of those that follow and those that leave,

    p(end) - p(start) = (1 - follow) * (after - beside),

and only the last factor has to be sampled. The plain difference of two rates pays for the noise of what is known: for a token
of probability 1/2 its variance is four times as large. The estimate also keeps the bound |change| <= 1 - follow by itself.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from factory.preference.tree import Node, Tally

_STANDARD = NormalDist()


@dataclass(frozen=True)
class Change:
    """The posterior of a change of p(success), as a normal distribution; `deviation` 0 means that it is known."""

    mean: float
    deviation: float

    def chance_above(self, least: float) -> float:
        """The chance that the change is `least` or more."""
        if self.deviation == 0:
            return float(self.mean >= least)
        return _STANDARD.cdf((self.mean - least) / self.deviation)

    def chance_of_size(self, least: float) -> float:
        """The chance that the change is `least` or more in either direction."""
        return self.chance_above(least) + Change(-self.mean, self.deviation).chance_above(least)

    def towards(self, sign: float) -> "Change":
        """The same change, counted positive in the direction of `sign`."""
        return self if sign >= 0 else Change(-self.mean, self.deviation)


def change_between(start: Node, end: Node, follow: float) -> Change:
    """The change of p(success) from `start` to `end`, a later prefix of the same answer, reached with chance `follow`.

    Beta posteriors under uniform priors, matched by their first two moments.
    """
    beside = start.beside(end)
    after_mean, after_variance = (float(end.verdict), 0.0) if end.verdict is not None else _beta(end.tally)
    beside_mean, beside_variance = _beta(beside)
    return Change((1 - follow) * (after_mean - beside_mean), (1 - follow) * sqrt(after_variance + beside_variance))


def _beta(tally: Tally) -> tuple[float, float]:
    mean = tally.smoothed
    return mean, mean * (1 - mean) / (tally.samples + 3)
