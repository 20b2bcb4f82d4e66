"""The server engine against a server in a thread: what is asked, what is read, and every way in which it can go wrong."""

from pathlib import Path
from typing import Any

import pytest
from completions_server import LOG_PROB, CompletionsServer, Json

from factory.errors import SeedmillError
from factory.graph.preference import sampled
from factory.preference.config import PivotalSearchConfig
from factory.preference.models import open_sampler
from factory.sampling.api import SampleRequest, SamplingSettings, Usage
from factory.sampling.config import ServerEngine
from factory.sampling.server import ServerSampler
from factory.spec import InputSpec, JobSpec
from factory.tokens import vocabulary
from factory.tokens.tokenizer import Tokenizer

STOP, PAD = 7, 9
SAMPLED = SamplingSettings(temperature=1.0, max_new_tokens=6, stop=(STOP,), forbidden=(PAD,))
REQUESTS = [SampleRequest((1, 2), 3), SampleRequest((3,)), SampleRequest((1, 2), 2)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return vocabulary.trained(["Tom has 3 apples and gains 4. Answer: 7"] * 9, 520, 8)


def engine(url: str, kind: str = "vllm", **address: Any) -> ServerEngine:
    values = {"base_url": url, "api_key_env": "TEST_SERVER_KEY", "max_retries": 3, **address}
    return ServerEngine.model_validate({"engine": "server", "kind": kind, "address": values})


def sampler(server: CompletionsServer, **address: Any) -> ServerSampler:
    return ServerSampler(engine(server.url, server.kind, **address), "sft_checkpoint", "sft_checkpoint@v")


def counting(body: Json) -> list[int]:
    """As many tokens 4 as the prompt is long, then the stop token."""
    return [*([4] * len(body["prompt"])), STOP][: body["max_tokens"]]


@pytest.mark.parametrize("kind", ["vllm", "llama.cpp"])
def test_ids_go_in_and_come_out_in_the_order_asked(tokenizer: Tokenizer, kind: str) -> None:
    with CompletionsServer(counting, tokenizer, kind=kind, delay=0.005) as server:
        one = sampler(server)
        answers = one.sample(REQUESTS, SAMPLED, seed=1)
    assert [[c.tokens for c in found] for found in answers] == [[(4, 4, STOP)] * 3, [(4, STOP)], [(4, 4, STOP)] * 2]
    assert answers[1][0].log_probs == (LOG_PROB, LOG_PROB)
    assert all(completion.stopped for found in answers for completion in found)
    assert one.usage == Usage(prefill_tokens=3, decode_tokens=17)


def test_every_completion_is_a_request_with_a_seed_of_its_own_and_the_same_call_asks_the_same(tokenizer: Tokenizer) -> None:
    with CompletionsServer(counting, tokenizer) as server:
        for _ in range(2):
            sampler(server).sample(REQUESTS, SAMPLED, seed=1)
        first, again = ({body["seed"]: body for body in server.asked[part]} for part in (slice(0, 6), slice(6, 12)))
        sampler(server).sample(REQUESTS, SAMPLED, seed=2)
        other = {body["seed"] for body in server.asked[12:]}
    assert first == again
    assert len(first) == 6
    assert not other & first.keys()
    assert all(0 <= seed < 2**31 for seed in [*first, *other])


def test_what_a_server_could_set_otherwise_is_stated(tokenizer: Tokenizer) -> None:
    with CompletionsServer(counting, tokenizer) as vllm, CompletionsServer(counting, tokenizer, kind="llama.cpp") as llama:
        for server in (vllm, llama):
            sampler(server).sample([SampleRequest((1,))], SAMPLED, seed=1)
        (to_vllm,), (to_llama,) = vllm.asked, llama.asked
    for body in (to_vllm, to_llama):
        assert (body["model"], body["prompt"], body["max_tokens"], body["temperature"]) == ("sft_checkpoint@v", [1], 6, 1.0)
        assert (body["top_p"], body["min_p"], body["logit_bias"]) == (1.0, 0.0, {str(PAD): -100})
    assert (to_vllm["stop_token_ids"], to_vllm["ignore_eos"], to_vllm["top_k"], to_vllm["repetition_penalty"]) == ([STOP], True, 0, 1.0)
    assert to_llama["samplers"] == ["temperature", "top_p"]


def test_a_completion_that_reaches_the_limit_has_not_stopped(tokenizer: Tokenizer) -> None:
    with CompletionsServer(counting, tokenizer) as server:
        ((answer,),) = sampler(server).sample([SampleRequest((1,) * 9)], SAMPLED, seed=1)
    assert answer.tokens == (4,) * 6
    assert not answer.stopped


def test_a_server_that_ends_at_another_token_is_asked_to_go_on(tokenizer: Tokenizer) -> None:
    """llama.cpp ends at every end token of its file, also where the stage has only one of them for a stop."""
    with CompletionsServer(lambda body: [4, 8] if len(body["prompt"]) == 1 else [5, STOP], tokenizer, kind="llama.cpp") as server:
        ((answer,),) = sampler(server).sample([SampleRequest((1,))], SAMPLED, seed=1)
        assert [body["prompt"] for body in server.asked] == [[1], [1, 4, 8]]
    assert answer.tokens == (4, 8, 5, STOP)
    assert answer.stopped


def test_a_stop_token_that_the_server_does_not_know_ends_the_completion(tokenizer: Tokenizer) -> None:
    with CompletionsServer(lambda _: [4, STOP, 5, 5, 5, 5], tokenizer, kind="llama.cpp") as server:
        ((answer,),) = sampler(server).sample([SampleRequest((1,))], SAMPLED, seed=1)
    assert (answer.tokens, len(answer.log_probs), answer.stopped) == ((4, STOP), 2, True)


def test_no_more_than_max_concurrency_are_in_flight(tokenizer: Tokenizer) -> None:
    with CompletionsServer(counting, tokenizer, delay=0.02) as server:
        sampler(server, max_concurrency=3).sample([SampleRequest((1,), 12)], SAMPLED, seed=1)
        assert 1 < server.most_active <= 3


def test_given_text_is_scored_by_vllm_and_declined_by_llama_cpp(tokenizer: Tokenizer) -> None:
    with CompletionsServer(counting, tokenizer) as vllm, CompletionsServer(counting, tokenizer, kind="llama.cpp") as llama:
        assert sampler(vllm).log_probs([(1, 2, 3), (5, 4)]) == [(-2.0, -3.0), (-4.0,)]
        with pytest.raises(SeedmillError, match=r"no log-probabilities of given text.*local engine"):
            sampler(llama).log_probs([(1, 2, 3)])
        with pytest.raises(SeedmillError, match=r"at temperature 1, not 0\.5"):
            sampler(vllm).log_probs([(1, 2)], temperature=0.5)


def test_busy_servers_are_asked_again_and_the_key_comes_from_the_environment(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SERVER_KEY", "a key")
    with CompletionsServer(counting, tokenizer, statuses=(429, 503)) as server:
        ((answer,),) = sampler(server).sample([SampleRequest((1,))], SAMPLED, seed=1)
        assert [headers["Authorization"] for headers in server.headers] == ["Bearer a key"] * 3
    assert answer.tokens == (4, STOP)


@pytest.mark.parametrize(
    ("status", "requests_made", "said"),
    [
        (401, 1, "answered 401: set the environment variable TEST_SERVER_KEY"),
        (404, 1, r"answered 404.*sampling\.address\.base_url"),
        (400, 1, "answered 400: .*status 400"),
        (429, 4, r"still answered 429 after 3 retries; lower sampling\.address\.max_concurrency"),
        (500, 4, "still answered 500 after 3 retries"),
    ],
)
def test_a_lasting_error_is_one_line_that_names_the_remedy(tokenizer: Tokenizer, status: int, requests_made: int, said: str) -> None:
    with CompletionsServer(counting, tokenizer, statuses=(status,) * 50) as server:
        with pytest.raises(SeedmillError, match=said) as error:
            sampler(server, max_concurrency=1).sample(REQUESTS, SAMPLED, seed=1)
        assert server.url in str(error.value)
        assert "\n" not in str(error.value)
        assert len(server.asked) == requests_made


def test_a_server_that_is_not_there_is_named() -> None:
    absent = ServerSampler(engine("http://127.0.0.1:9/v1", max_retries=0), "sft_checkpoint", "sft_checkpoint@v")
    with pytest.raises(SeedmillError, match=r"127\.0\.0\.1:9.*cannot be reached.*sampling\.address\.base_url"):
        absent.sample(REQUESTS, SAMPLED, seed=1)


def drop_ids(choice: Json) -> None:
    choice.pop("token_ids")


def drop_log_probs(choice: Json) -> None:
    choice["logprobs"] = None


def lose_one_log_prob(choice: Json) -> None:
    choice["logprobs"]["token_logprobs"].pop()


@pytest.mark.parametrize("spoil", [drop_ids, drop_log_probs, lose_one_log_prob])
def test_an_answer_without_ids_or_log_probs_asks_whether_the_kind_is_right(tokenizer: Tokenizer, spoil: Any) -> None:
    with CompletionsServer(counting, tokenizer, spoil=spoil) as server, pytest.raises(SeedmillError, match=r"sampling\.kind"):
        sampler(server).sample(REQUESTS, SAMPLED, seed=1)


def test_a_completion_cut_by_the_server_s_context_is_an_error_and_not_a_short_answer(tokenizer: Tokenizer) -> None:
    def cut(choice: Json) -> None:
        choice["finish_reason"] = "length"

    with CompletionsServer(counting, tokenizer, spoil=cut) as server, pytest.raises(SeedmillError, match=r"3 of 6 tokens.*context length"):
        sampler(server).sample([SampleRequest((1, 2))], SAMPLED, seed=1)


@pytest.mark.parametrize("settings", [{"temperature": 0.7}, {"temperature": 1.0, "top_p": 0.9}])
def test_raw_log_probs_are_refused_where_they_are_not_those_of_the_draw(tokenizer: Tokenizer, settings: dict[str, float]) -> None:
    wanted = SamplingSettings(**settings, max_new_tokens=6, stop=(STOP,))
    with CompletionsServer(counting, tokenizer) as server:
        with pytest.raises(SeedmillError, match="--logprobs-mode processed_logprobs"):
            sampler(server).sample(REQUESTS, wanted, seed=1)
        processed = engine(server.url).model_copy(update={"log_probs": "processed"})
        assert ServerSampler(processed, "sft_checkpoint", "sft_checkpoint@v").sample(REQUESTS, wanted, seed=1)


@pytest.fixture
def context(tokenizer: Tokenizer, tmp_path: Path) -> Any:
    from factory.context import Context

    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(tmp_path / "tokenizer")
    inputs = {name: InputSpec(asset=name, version="v", digest="d", path=str(tmp_path / name)) for name in ("tokenizer", "sft_checkpoint")}
    return Context.of(JobSpec(key="k", asset="a", run="", section={}, seed=0, inputs=inputs, folder=str(tmp_path / "job")))


def test_a_stage_opens_the_server_that_holds_its_checkpoint(tokenizer: Tokenizer, context: Any) -> None:
    with CompletionsServer(counting, tokenizer) as server:
        one = open_sampler(context, "sft_checkpoint", engine(server.url))
        assert one.sample([SampleRequest((1,))], SAMPLED, seed=1)[0][0].tokens == (4, STOP)


def test_another_checkpoint_or_another_tokenizer_is_found_before_anything_is_sampled(tokenizer: Tokenizer, context: Any) -> None:
    other = vocabulary.trained(["quite other words, of other letters"] * 9, 520, 8)
    with CompletionsServer(counting, tokenizer, name="sft_checkpoint@older") as older, CompletionsServer(counting, other) as foreign:
        with pytest.raises(SeedmillError, match="serves sft_checkpoint@older, not sft_checkpoint@v: start it"):
            open_sampler(context, "sft_checkpoint", engine(older.url))
        with pytest.raises(SeedmillError, match="another tokenizer than sft_checkpoint@v"):
            open_sampler(context, "sft_checkpoint", engine(foreign.url))
        assert older.asked == foreign.asked == []


def test_each_checkpoint_may_have_a_server_of_its_own() -> None:
    one = ServerSampler(engine("http://{checkpoint}.models:8000/v1/"), "sft_checkpoint", "sft_checkpoint@v")
    assert one.endpoint.base_url == "http://sft_checkpoint.models:8000/v1"


def test_where_a_server_lies_is_no_part_of_an_artefact_s_identity_but_the_engine_is() -> None:
    here, there = (PivotalSearchConfig(sampling=engine(url)) for url in ("http://here/v1", "http://there/v1"))
    identities = [sampled("pivotal_pairs", "", "", section, ()).identity for section in (here, there, PivotalSearchConfig())]
    assert identities[0] == identities[1]
    assert identities[0]["sampling"] == {"engine": "server", "kind": "vllm", "log_probs": "raw"}
    assert identities[2]["sampling"] == {"dtype": "bfloat16", "slots": 256, "device": "cpu"}
