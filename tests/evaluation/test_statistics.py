import random

import pytest

from factory.evaluation.statistics import mcnemar, paired_change, share


def test_wilson_intervals_agree_with_published_values():
    # Newcombe 1998 (Statistics in Medicine 17, 857), table I: 81/263, 15/148, 0/20, 1/29.
    for correct, n, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]:
        found = share(correct, n)
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
        assert found.accuracy == correct / n


def test_no_trial_says_nothing():
    assert (share(0, 0).low, share(0, 0).high) == (0, 1)


def test_wilson_intervals_cover_the_truth_about_as_often_as_promised():
    generator = random.Random(1)
    covered = 0
    for _ in range(2000):
        found = share(sum(generator.random() < 0.1 for _ in range(100)), 100)
        covered += found.low <= 0.1 <= found.high
    assert 0.92 < covered / 2000 < 0.98


def test_mid_p_mcnemar_agrees_with_values_worked_by_hand():
    # Binomial(n, 1/2): 2 P(X < fewer) + P(X = fewer).
    assert mcnemar(5, 0) == pytest.approx(1 / 32)
    assert mcnemar(0, 5) == pytest.approx(1 / 32)
    assert mcnemar(1, 6) == pytest.approx((2 * 1 + 7) / 128)
    assert mcnemar(3, 3) == pytest.approx(1 - 20 / 64)
    assert mcnemar(0, 0) == 1


def test_mid_p_mcnemar_agrees_with_a_published_example():
    # Fagerland, Lydersen, Laake 2013 (BMC Medical Research Methodology 13, 91): 1 against 7 discordant pairs, mid-p 0.039.
    assert mcnemar(1, 7) == pytest.approx(0.039, abs=5e-4)


@pytest.mark.parametrize(("gained", "lost", "verdict"), [(30, 10, "rose"), (10, 30, "fell"), (22, 18, "no significant change")])
def test_a_change_is_called_only_when_it_is_significant(gained, lost, verdict):
    before = {str(i): i >= gained for i in range(100)}
    after = {str(i): not gained <= i < gained + lost for i in range(100)}
    change = paired_change(before, after | {"only after": True})
    assert (change.n, change.gained, change.lost, change.verdict) == (100, gained, lost, verdict)
    assert change.after - change.before == pytest.approx((gained - lost) / 100)
