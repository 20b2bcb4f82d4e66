"""How the next token is drawn: greedily, or by temperature and top-p with a random stream of its own for every sequence.

A sequence's stream depends only on the seed, its request and its number within the request, so its draws do not change when
other sequences end earlier or later beside it.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from factory.sampling.api import SamplingSettings

BLOCK = 32
GAMMA = np.uint64(0x9E3779B97F4A7C15)


def mix(value: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def streams(seed: int, requests: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """The key of each sequence's random stream (uint64), from the request's and the sample's number."""
    key = mix(np.asarray([seed % 2**64], dtype=np.uint64))
    return mix(mix(key + requests.astype(np.uint64) * GAMMA) + samples.astype(np.uint64) * GAMMA)


def uniforms(keys: np.ndarray, steps: np.ndarray) -> torch.Tensor:
    """The number at place `steps` of each stream: float32 in [0, 1), multiples of 2^-24."""
    bits = mix(keys + (steps.astype(np.uint64) + np.uint64(1)) * GAMMA)
    return torch.from_numpy((bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24))


def draw(logits: torch.Tensor, settings: SamplingSettings, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token a row from logits [S, vocab] float32 (changed in place); returns tokens [S] int64 and log-probabilities [S].

    By the inverse of the cumulative distribution: one uniform number a row, where a Gumbel draw needs one a token.
    """
    if settings.forbidden:
        logits[:, list(settings.forbidden)] = float("-inf")
    if settings.temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    chances = (logits / settings.temperature if settings.temperature != 1 else logits).softmax(-1)
    if settings.top_p < 1:
        keep_nucleus(chances, settings.top_p)
    tokens, total = pick(chances, uniform)
    return tokens, (chances.gather(1, tokens[:, None])[:, 0] / total).log()


def pick(chances: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The token [S] at which the sum of chances [S, vocab] passes the share `uniform` [S] of the whole; and the whole [S].

    First the block of tokens is found and then the token, so that only sums of blocks and one block a row are accumulated: half
    the time of a search through all. Rounding can not lead to a token without a chance.
    """
    blocks = F.pad(chances, (0, -chances.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))
    sums = blocks.sum(-1)
    cumulative = sums.cumsum(-1)
    total = cumulative[:, -1:]
    wanted = uniform[:, None] * total
    block = torch.searchsorted(cumulative, wanted, right=True)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, BLOCK))[:, 0].cumsum(-1)
    rest = wanted - (cumulative.gather(1, block) - sums.gather(1, block))
    rest = torch.minimum(rest.clamp_(min=0), inside[:, -1:] * (1 - 2**-24))
    return (block * BLOCK + torch.searchsorted(inside, rest, right=True))[:, 0], total[:, 0]


def keep_nucleus(chances: torch.Tensor, top_p: float) -> None:
    """Set to zero, in place, what lies outside the smallest set of likeliest tokens with total chance `top_p` or more.

    Ties at the edge all stay. Holtzman et al., The curious case of neural text degeneration, 2020.
    """
    falling = _falling(chances)
    last = (falling.cumsum(-1) < top_p).sum(-1, keepdim=True).clamp_(max=chances.shape[-1] - 1)
    chances[chances < falling.gather(1, last)] = 0.0


def _falling(chances: torch.Tensor) -> torch.Tensor:
    if chances.device.type != "cpu":
        return chances.sort(dim=-1, descending=True).values
    # On a CPU, NumPy's sort of values alone is several times faster than torch's, which also sorts indices.
    return torch.from_numpy(np.sort(chances.numpy(), axis=-1)[:, ::-1].copy())
