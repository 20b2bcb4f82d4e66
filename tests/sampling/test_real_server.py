"""The server engine against llama.cpp's own server (the wheel `xllamacpp`), on the GGUF of a small random model."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import Phi3Config, Phi3ForCausalLM

from factory.errors import SeedmillError
from factory.release import gguf
from factory.release.config import GgufConfig
from factory.sampling.api import SampleRequest, SamplingSettings
from factory.sampling.config import LocalEngine, ServerEngine
from factory.sampling.local import LocalSampler
from factory.sampling.server import ServerSampler
from factory.tokens import vocabulary
from factory.tokens.tokenizer import Tokenizer

xllamacpp = pytest.importorskip("xllamacpp", reason="needs the wheel xllamacpp: llama.cpp with its server")
SHAPE = {
    "vocab_size": 520, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
EXTRA = {"original_max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return vocabulary.trained(["Tom has 3 apples and gains 4. Answer: 7"] * 9, 520, 8)


@pytest.fixture(scope="module")
def hf_folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    ids = {"pad_token_id": tokenizer.pad, "eos_token_id": tokenizer.im_end, "bos_token_id": None}
    model = Phi3ForCausalLM(Phi3Config(**SHAPE, **ids, initializer_range=0.15, sliding_window=None))
    folder = tmp_path_factory.mktemp("hf")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def server_url(hf_folder: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    tensors = dict(gguf.named_tensors(hf_folder / "model.safetensors", SHAPE["num_hidden_layers"], "F32"))
    settings = json.loads((hf_folder / "config.json").read_bytes()) | SHAPE | EXTRA
    gguf.write(path, GgufConfig(tensor_type="F32"), settings, tokenizer, tensors)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.model_alias = {"sft_checkpoint@v"}
    params.port, params.n_ctx, params.n_parallel, params.n_threads_http = 0, 2048, 4, 4
    params.cpuparams.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.warmup, params.verbosity = False, 0
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


@pytest.fixture(scope="module")
def sampler(server_url: str, tokenizer: Tokenizer) -> ServerSampler:
    address = {"base_url": server_url, "max_concurrency": 4, "max_retries": 0}
    engine = ServerEngine.model_validate({"engine": "server", "kind": "llama.cpp", "address": address})
    sampler = ServerSampler(engine, "sft_checkpoint", "sft_checkpoint@v")
    sampler.check(tokenizer)
    return sampler


@pytest.fixture(scope="module")
def local(hf_folder: Path) -> LocalSampler:
    return LocalSampler.load(hf_folder, LocalEngine(dtype="float32", slots=8))


def settings(tokenizer: Tokenizer, temperature: float, top_p: float = 1.0, new: int = 24) -> SamplingSettings:
    inside_characters = {rank for token, rank in tokenizer.ranks.items() if not token.isascii()}
    forbidden = tuple(sorted({tokenizer.pad, *tokenizer.unused, *inside_characters}))
    return SamplingSettings(
        temperature=temperature, top_p=top_p, max_new_tokens=new, stop=(tokenizer.im_end, tokenizer.eod), forbidden=forbidden
    )


def prompts(tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    questions = ("Tom has 3 apples.", "Answer", "gains and gains 4")
    return [tuple(tokenizer.encode_chat([{"role": "user", "content": question}])) for question in questions]


def test_greedy_output_is_that_of_the_local_engine(sampler: ServerSampler, local: LocalSampler, tokenizer: Tokenizer) -> None:
    """The server's greedy chances are the model's own; ours leave out the forbidden tokens, on which a random model spends much."""
    requests = [SampleRequest(prompt) for prompt in prompts(tokenizer)]
    theirs, ours = (engine.sample(requests, settings(tokenizer, 0), seed=1) for engine in (sampler, local))
    assert [c.tokens for found in theirs for c in found] == [c.tokens for found in ours for c in found]
    whole = local.log_probs([request.prompt + found[0].tokens for request, found in zip(requests, theirs, strict=True)])
    for (there,), expected in zip(theirs, whole, strict=True):
        assert there.log_probs == pytest.approx(expected[-len(there.tokens) :], abs=1e-3)


def test_drawn_tokens_have_the_log_probs_of_the_distribution_they_were_drawn_from(
    sampler: ServerSampler, hf_folder: Path, tokenizer: Tokenizer
) -> None:
    """Forbidden tokens hold some of this random model's mass, so they have to be left out here as well."""
    requests = [SampleRequest(prompt, 4) for prompt in prompts(tokenizer)]
    wanted = settings(tokenizer, 1.0)
    for request, found in zip(requests, sampler.sample(requests, wanted, seed=1), strict=True):
        for completion in found:
            expected = follow(hf_folder, request.prompt, completion.tokens, wanted)
            assert completion.log_probs == pytest.approx(expected, abs=1e-3)


def follow(hf_folder: Path, prompt: tuple[int, ...], tokens: tuple[int, ...], wanted: SamplingSettings) -> list[float]:
    """The log-probabilities of given tokens with the forbidden ones left out, by the model's own logits."""
    model = Phi3ForCausalLM.from_pretrained(hf_folder, dtype=torch.float32)
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *tokens]])).logits[0]
    logits[:, list(wanted.forbidden)] = -math.inf
    log_probs = logits.log_softmax(-1)
    return [float(log_probs[len(prompt) - 1 + place, token]) for place, token in enumerate(tokens)]


def test_temperature_and_top_p_draw_what_the_local_engine_draws(sampler: ServerSampler, local: LocalSampler, tokenizer: Tokenizer) -> None:
    """400 first tokens of each engine at temperature 0.6 and top-p 0.7: the same nucleus, and frequencies within chance."""
    request, wanted = SampleRequest(prompts(tokenizer)[0], 400), settings(tokenizer, 0.6, 0.7, new=1)
    theirs, ours = (Counter(c.tokens for c in engine.sample([request], wanted, seed=2)[0]) for engine in (sampler, local))
    stated = {c.tokens: math.exp(c.log_probs[0]) for c in sampler.sample([request], wanted, seed=3)[0]}
    assert sum(stated.values()) == pytest.approx(1, abs=0.05)
    for tokens, chance in stated.items():
        deviation = math.sqrt(chance * (1 - chance) / 400)
        assert abs(theirs[tokens] / 400 - chance) < 4.5 * deviation
        assert abs(ours[tokens] / 400 - chance) < 4.5 * deviation


def test_prompts_that_do_not_fit_and_ids_beyond_the_vocabulary_are_one_clear_error(sampler: ServerSampler, tokenizer: Tokenizer) -> None:
    with pytest.raises(SeedmillError, match="answered 400"):
        sampler.sample([SampleRequest((5,) * 600)], settings(tokenizer, 1.0), seed=1)
    with pytest.raises(SeedmillError, match=r"answered 400.*invalid tokens"):
        sampler.sample([SampleRequest((5, 100_000))], settings(tokenizer, 1.0), seed=1)
    with pytest.raises(SeedmillError, match="context length"):
        sampler.sample([SampleRequest((5,) * 250)], settings(tokenizer, 0.0, new=500), seed=1)


def test_a_token_that_ends_inside_a_character_is_reported_by_nobody_and_said_so(sampler: ServerSampler, tokenizer: Tokenizer) -> None:
    only = {bytes([0xC3])}
    forbidden = tuple(sorted({*range(tokenizer.vocab_size)} - {tokenizer.ranks[token] for token in only}))
    wanted = SamplingSettings(temperature=1.0, max_new_tokens=3, stop=(tokenizer.im_end,), forbidden=forbidden)
    with pytest.raises(SeedmillError, match=r"3 token\(s\) of a completion to itself.*kind vllm"):
        sampler.sample([SampleRequest((5,))], wanted, seed=1)
