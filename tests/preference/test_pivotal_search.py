import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_world import PROMPT, RIGHT, WRONG, ExactWorld, World

from factory.errors import SeedmillError
from factory.preference.evidence import change_between
from factory.preference.group import plant
from factory.preference.pairs import TokenPair, pair_of, pairs_of
from factory.preference.search import Branch, Pivot, Rules, explore, midpoint
from factory.preference.tree import AnswerTree, Node, Tally
from factory.preference.verify import Tested as Claimed
from factory.preference.verify import Trial, verify
from factory.sampling.api import Completion, SampleRequest

A, B = 10, 11
COIN = {A: 0.5, B: 0.5}
SURE = {A: 0.95, B: 0.05}


def tree_of(world: World) -> AnswerTree:
    return AnswerTree(PROMPT, lambda answer: answer[-1] == RIGHT, longest=world.length, stop=(RIGHT, WRONG))


def search(world: World, answer: Sequence[int], *, samples: int = 400, gap: float = 0.2, prune: bool = True, reuse: bool = True) -> Branch:
    branch = Branch.of(tree_of(world), world.answer(answer))
    for _ in explore([branch], Rules(samples, gap, prune=prune, reuse=reuse), world.sample):
        pass
    return branch


TRIAL = Trial(0.2, 0.05, 8, 64)


def verified(pivots: Sequence[Pivot], world: World) -> list[TokenPair]:
    return pairs_of(verify(pivots, TRIAL, world.sample), 0.2)


def positions(branch: Branch) -> list[int]:
    return sorted(len(pivot.before.prefix) for pivot in branch.pivots)


def one_jump(at: int, length: int = 7) -> World:
    return World([COIN] * length, lambda drawn: 0.9 if drawn[at] == A else 0.1)


@pytest.mark.parametrize("at", [0, 3, 6])
@pytest.mark.parametrize("prune", [True, False])
def test_the_only_jump_of_a_monotone_chain_is_found_wherever_it_is(at: int, prune: bool) -> None:
    world = one_jump(at)
    branch = search(world, [A] * 7 + [RIGHT], prune=prune)
    assert positions(branch) == [at]
    assert branch.pivots[0].change.mean == pytest.approx(0.4, abs=0.08)


def test_a_rise_and_a_fall_inside_one_piece_cancel_and_are_missed() -> None:
    world = ExactWorld([COIN, COIN], lambda drawn: 0.5 if drawn[0] == drawn[1] else 1.0 if drawn[0] == A else 0.0)
    answer = [A, A, RIGHT]
    assert world.pivots(answer, 0.2) == [0, 1, 2]
    assert positions(search(world, answer)) == [2]


def test_a_jump_below_the_gap_is_no_pivot() -> None:
    world = ExactWorld([COIN, COIN], lambda drawn: 1.0 if drawn[0] == A else 0.75)
    assert positions(search(world, [A, A, RIGHT])) == []


def test_an_answer_of_one_token_is_judged_by_its_verdict() -> None:
    world = ExactWorld([], lambda _: 0.5)
    right, wrong = search(world, [RIGHT], samples=10), search(world, [WRONG], samples=10)
    assert [right.pivots[0].change.mean, wrong.pivots[0].change.mean] == pytest.approx([0.5, -0.5], abs=0.08)


def test_the_end_of_an_answer_is_never_sampled() -> None:
    world = one_jump(0, length=2)
    branch = search(world, [A, A, WRONG])
    assert branch.nodes[-1].verdict is False
    assert branch.nodes[-1].tally.samples == 0


def test_a_prefix_shared_by_two_answers_is_estimated_once() -> None:
    world = one_jump(3)
    tree = tree_of(world)
    branches = [Branch.of(tree, world.answer([A] * 7 + [end])) for end in (RIGHT, WRONG)]
    list(explore(branches, Rules(50, 0.2, prune=False, reuse=False), world.sample))
    assert branches[0].nodes[3] is branches[1].nodes[3]
    sampled = {id(node): node for branch in branches for node in branch.nodes if node.tally.samples}
    assert sum(world.calls) == len(sampled)
    assert all(node.tally.samples == 50 for node in sampled.values())


def test_rollouts_count_at_every_prefix_they_pass_through_and_nowhere_else() -> None:
    world = World([COIN, COIN], lambda _: 0.5)
    tree = tree_of(world)
    nodes = tree.insert(world.answer([A, A, RIGHT]))
    tree.record(tree.root, world.answer([A, B, RIGHT]), reuse=True)
    tree.record(tree.root, world.answer([B, A, WRONG]), reuse=True)
    assert [node.tally.samples for node in nodes[:3]] == [2, 1, 0]
    assert {token: seen.tally.successes for token, seen in nodes[1].next_tokens.items()} == {B: 1}
    tree.record(tree.root, world.answer([A, A, RIGHT]), reuse=False)
    assert [node.tally.samples for node in nodes[:3]] == [3, 1, 0]


def test_a_rollout_is_cut_where_the_whole_answer_would_have_been() -> None:
    tree = AnswerTree(PROMPT, lambda answer: answer[-1] == RIGHT, longest=3, stop=(RIGHT,))
    assert tree.grade(Node((A,)), Completion((A, RIGHT), (0.0, 0.0), stopped=True))
    assert not tree.grade(Node((A, A)), Completion((A, RIGHT), (0.0, 0.0), stopped=True))


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=12))
def test_a_piece_is_cut_inside_where_half_its_log_probability_is_spent(probabilities: list[float]) -> None:
    log_probs = [math.log(p) for p in probabilities]
    cut = midpoint(log_probs, (0, len(log_probs)))
    assert 0 < cut < len(log_probs)
    half = sum(log_probs) / 2
    assert cut == 1 or sum(log_probs[: cut - 1]) > half - 1e-9
    assert cut == len(log_probs) - 1 or sum(log_probs[:cut]) <= half + 1e-9


def test_the_cut_follows_the_log_probability_and_not_the_index() -> None:
    assert midpoint([-4.0, -0.1, -0.1, -0.1, -0.1], (0, 5)) == 1
    assert midpoint([-0.1, -0.1, -0.1, -0.1, -4.0], (0, 5)) == 4
    assert midpoint([-9.0, -1.0, -1.0, -1.0, -1.0], (1, 5)) == 3


worlds = st.builds(
    lambda chances, weights: World(
        [{A: c, B: 1 - c} for c in chances],
        lambda drawn: sum(w for w, token in zip(weights, drawn, strict=False) if token == A) / sum(weights),
    ),
    st.lists(st.sampled_from([0.05, 0.3, 0.5, 0.8, 0.97]), min_size=1, max_size=5),
    st.lists(st.integers(1, 20), min_size=5, max_size=5),
)


@given(worlds, st.lists(st.booleans(), min_size=6, max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_bound_never_prunes_a_true_pivot(world: World, coins: list[bool]) -> None:
    drawn = [A if coin else B for coin, _ in zip(coins, world.positions, strict=False)]
    ends = [end for end, chance in world.choices(tuple(drawn)).items() if chance > 0]
    answer = [*drawn, ends[coins[-1] % len(ends)]]
    branch = Branch.of(tree_of(world), world.answer(answer))
    assert set(world.pivots(answer, 0.2)) <= set(branch.candidates((0, len(answer)), 0.2))


def test_pruning_samples_fewer_prefixes_and_finds_the_same() -> None:
    plain, pruned = (World([SURE] * 30, lambda _: 0.5) for _ in range(2))
    answer = [A] * 30 + [RIGHT]
    full, short = search(plain, answer, prune=False, reuse=False), search(pruned, answer, reuse=False)
    assert positions(full) == positions(short) == [30]
    assert sum(pruned.calls) < sum(plain.calls)


def test_a_piece_with_a_single_suspect_is_narrowed_to_it_at_once() -> None:
    world = World([SURE] * 12 + [COIN], lambda drawn: 0.95 if drawn[12] == A else 0.05)
    search(world, [A] * 13 + [RIGHT])
    assert len(world.calls) == 2


def test_a_pair_has_the_pivot_on_the_side_of_its_change_and_the_other_token_seen_there() -> None:
    world = one_jump(3)
    rising, falling = search(world, [A] * 7 + [RIGHT]), search(world, [A] * 3 + [B] + [A] * 3 + [WRONG])
    (up,), (down,) = (verified(branch.pivots, world) for branch in (rising, falling))
    assert (up.chosen.token, up.rejected.token) == (A, B) == (down.chosen.token, down.rejected.token)
    assert min(up.chosen.success - up.rejected.success, down.chosen.success - down.rejected.success) > 0.6
    assert up.chosen.log_prob == pytest.approx(math.log(0.5))


@given(worlds, st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_chosen_token_of_every_pair_has_the_higher_estimate(world: World, seed: int) -> None:
    tree = tree_of(world)
    branches = [Branch.of(tree, answer) for answer in world.sample([SampleRequest(tree.prompt, 3)], seed=seed)[0]]
    list(explore(branches, Rules(8, 0.2), world.sample))
    pairs = verified([pivot for branch in branches for pivot in branch.pivots], world)
    assert len({(p.test.before.prefix, p.chosen.token, p.rejected.token) for p in pairs}) == len(pairs)
    for pair in pairs:
        assert pair.chosen.token != pair.rejected.token
        assert pair.chosen.success > pair.rejected.success


def test_a_pivot_without_another_token_makes_no_pair() -> None:
    world = ExactWorld([], lambda _: 0.5)
    (test,) = verify(search(world, [RIGHT]).pivots, TRIAL, world.sample)
    assert test.holds
    assert pair_of(test, 0.2) is not None
    for node in (test.before, test.pivot.before):
        node.next_tokens = {RIGHT: node.next_tokens[RIGHT]}
    assert pair_of(test, 0.2) is None


def test_another_token_that_does_as_well_as_the_pivot_makes_no_pair() -> None:
    """The other side of a pair is measured as well: a likely alternative that nobody tried may be no better and no worse."""
    world = one_jump(3)
    (test,) = verify(search(world, [A] * 7 + [RIGHT]).pivots, TRIAL, world.sample)
    assert pair_of(test, 0.2) is not None
    for node in (test.before, test.pivot.before):
        node.next_tokens[B].tally = Tally(40, 34)
    assert pair_of(test, 0.2) is None


def test_a_rollout_that_follows_a_piece_and_one_that_leaves_it_tell_the_change_together() -> None:
    world = ExactWorld([COIN, SURE], lambda drawn: 0.9 if drawn[0] == A else 0.1)
    tree = tree_of(world)
    nodes = tree.insert(world.answer([A, A, RIGHT]))
    for rollout in world.sample([SampleRequest(PROMPT, 4000)])[0]:
        tree.record(tree.root, rollout, reuse=True)
    assert (nodes[0].beside(nodes[1]).samples, nodes[0].beside(nodes[2]).samples) == (2000, 2100)
    for end, follow in ((1, 0.5), (2, 0.475), (3, 0.4275)):
        change = change_between(nodes[0], nodes[end], follow)
        assert change.mean == pytest.approx(world.success((A, A, RIGHT)[:end]) - 0.5, abs=0.01)
        assert change.deviation < 0.5 * (0.25 / 2000) ** 0.5 * 2
        assert abs(change.mean) <= 1 - follow


def test_fresh_samples_confirm_a_true_pivot_at_the_first_look_and_end_tokens_are_asked_of_the_oracle() -> None:
    world = one_jump(3)
    pivots = search(world, [A] * 7 + [RIGHT]).pivots + search(ExactWorld([], lambda _: 0.5), [RIGHT]).pivots
    world.calls.clear()
    jump, end = verify([*pivots, *pivots], TRIAL, world.sample)
    assert jump.holds
    assert jump.change.mean > 0.2
    assert end.after.verdict is True
    assert end.after.tally.samples == 0
    assert world.calls[0] == 2


@pytest.mark.parametrize(("probability", "before", "after"), [(0.02, 9, 8), (0.25, 11, 6), (0.5, 16, 0), (0.75, 16, 0)])
def test_a_look_draws_as_many_rollouts_that_follow_a_pivot_as_leave_it(probability: float, before: int, after: int) -> None:
    tree = tree_of(one_jump(3))
    *_, start, end = tree.path((A, A))
    test = Claimed(Pivot(tree, start, end, math.log(probability)), tree, start, end)
    assert [samples for _, _, samples in test.wanted(8)] == [before, after]


@pytest.mark.parametrize(("successes", "holds"), [((0, 8), True), ((2, 6), None), ((4, 4), False), ((6, 2), False)])
def test_a_look_ends_what_is_clear_and_what_has_no_hope(successes: tuple[int, int], holds: bool | None) -> None:
    tree = tree_of(one_jump(3))
    start, end = tree.path((A,))
    start.left_at[()] = Tally(8, successes[0])
    end.tally = Tally(8, successes[1])
    claim = Pivot(tree, Node((), left_at={(): Tally(8, 0)}), Node((A,), Tally(8, 8)), math.log(0.1))
    test = Claimed(claim, tree, start, end)
    test.look(TRIAL, 8)
    assert test.holds is holds


def test_a_lucky_estimate_of_the_search_does_not_survive_fresh_samples() -> None:
    world = World([COIN] * 3, lambda _: 0.5)
    branch = Branch.of(tree_of(world), world.answer([A] * 3 + [RIGHT]))
    branch.nodes[0].tally.samples = branch.nodes[1].tally.samples = branch.nodes[1].tally.successes = 50
    lucky = Pivot(branch.tree, branch.nodes[0], branch.nodes[1], math.log(0.5))
    assert lucky.change.mean > 0.2
    (test,) = verify([lucky], TRIAL, world.sample)
    assert test.holds is False


@pytest.mark.parametrize(("roots", "verdicts"), [(2, [False] * 2), (8, [False] * 6)])
def test_failures_are_searched_and_count_at_the_empty_prefix_only(roots: int, verdicts: list[bool]) -> None:
    world = ExactWorld([COIN], lambda _: 0.25)
    tree = tree_of(world)
    drawn = world.sample([SampleRequest(tree.prompt, 8)])[0]
    branches = plant(tree, drawn, roots, random.Random(0), reuse=True)
    assert [branch.nodes[-1].verdict for branch in branches] == verdicts
    assert tree.root.tally.samples == 8
    assert sum(node.tally.samples for node in {id(b.nodes[1]): b.nodes[1] for b in branches}.values()) <= 8 - len(branches)


def test_a_sampler_that_answers_short_is_an_error() -> None:
    world = one_jump(0)
    branch = Branch.of(tree_of(world), world.answer([A] * 7 + [RIGHT]))
    with pytest.raises(SeedmillError, match="0 rollouts for 5"):
        list(explore([branch], Rules(5, 0.2), lambda requests: [[] for _ in requests]))


def test_pending_estimates_of_all_answers_are_drawn_in_one_call() -> None:
    world = one_jump(3)
    trees = [tree_of(world) for _ in range(5)]
    branches = [Branch.of(tree, world.answer([A] * 7 + [RIGHT])) for tree in trees]
    list(explore(branches, Rules(20, 0.2), world.sample))
    assert world.calls[0] == 5
    assert max(world.calls) > 5
    assert len(world.calls) <= 6
