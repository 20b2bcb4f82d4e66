from hypothesis import given
from hypothesis import strategies as st

from factory.sampling.api import SampleRequest
from factory.sampling.plan import holders, plan

prompts = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple)


@given(st.sets(prompts, max_size=30))
def test_a_holder_begins_with_its_prompt_and_begins_no_other(asked: set[tuple[int, ...]]) -> None:
    found = holders(asked)
    assert found.keys() == asked
    for prompt, holder in found.items():
        assert holder[: len(prompt)] == prompt
        assert [other for other in asked if other[: len(holder)] == holder] == [holder]


@given(st.lists(st.tuples(prompts, st.integers(0, 4)), max_size=20))
def test_every_completion_is_planned_once_behind_its_own_prompt(asked: list[tuple[tuple[int, ...], int]]) -> None:
    computed, jobs = plan([SampleRequest(*each) for each in asked])
    assert [len(prompt) for prompt in computed] == sorted((len(prompt) for prompt in computed), reverse=True)
    assert sorted((job.request, job.sample) for job in jobs) == [(i, n) for i, (_, count) in enumerate(asked) for n in range(count)]
    assert all(computed[job.prompt][: job.length] == asked[job.request][0] for job in jobs)
