import random
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from pivotal_chains import FALSE_BELOW, blind_spot, search
from planted_chains import HEADS, KINDS, LONGEST, RIGHT, TAILS, plant_chains

from factory.preference.config import PivotalSearchConfig


def test_what_is_emitted_is_true_and_what_is_large_is_found() -> None:
    outcome = search(plant_chains(40, seed=0), PivotalSearchConfig())
    assert len(outcome.emitted) > 30
    assert outcome.precision >= 0.95
    assert outcome.recall()[1] >= 0.85
    assert outcome.power is not None
    assert outcome.false_discovery_rate is not None
    assert outcome.false_discovery_rate <= outcome.stated_error_rate


def test_where_no_jump_reaches_the_gap_only_the_last_tokens_are_emitted() -> None:
    walks = [chain for chain in plant_chains(100, seed=1) if chain.kind == "under the gap"]
    outcome = search(walks, PivotalSearchConfig())
    assert sum(abs(token.change) < FALSE_BELOW for token in outcome.emitted) <= 0.1 * max(10, len(outcome.emitted))


def test_a_rise_that_is_taken_back_within_its_piece_is_not_seen() -> None:
    found = blind_spot(samples=500)
    assert found["changes"][1:3] == [pytest.approx(0.4), pytest.approx(-0.4)]
    assert found["missed"] == [1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_chance_of_success_of_a_chain_is_the_mean_over_its_next_token(kind: str) -> None:
    lots = random.Random(3)
    chain = next(chain for chain in plant_chains(10, seed=2) if chain.kind == kind)
    for _ in range(20):
        answer = chain.roll(()).tokens
        place = lots.randrange(len(chain.steps))
        now = chain.values(answer[:place])[-1]
        after = [chain.values((*answer[:place], token))[-1] for token in (HEADS, TAILS)]
        heads = chain.steps[place].heads
        assert heads * after[0] + (1 - heads) * after[1] == pytest.approx(now)
        assert chain.values(answer)[-1] == float(answer[-1] == RIGHT)
        assert len(answer) <= LONGEST
