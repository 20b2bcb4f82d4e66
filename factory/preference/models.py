"""Opening the checkpoints that a stage samples."""

from factory.context import Context, Input
from factory.errors import SeedmillError
from factory.sampling.api import Sampler
from factory.sampling.config import LocalEngine, SamplingConfig, ServerEngine
from factory.tokens.tokenizer import Tokenizer, load


def open_sampler(context: Context, asset: str, sampling: SamplingConfig, positions: int | None = None) -> Sampler:
    """The engine that the recipe names for the input checkpoint `asset`, after a look at whether its vocabulary is the tokenizer's.

    `positions` raises the local model's limit; a server has its own. Importing torch is left to stages that sample locally.
    """
    source, tokenizer = context.inputs[asset], load(context.inputs["tokenizer"].path)
    return _server(source, sampling, tokenizer) if isinstance(sampling, ServerEngine) else _local(source, sampling, tokenizer, positions)


def _server(source: Input, engine: ServerEngine, tokenizer: Tokenizer) -> Sampler:
    from factory.sampling.server import ServerSampler

    sampler = ServerSampler(engine, source.asset, f"{source.asset}@{source.version}")
    sampler.check(tokenizer)
    return sampler


def _local(source: Input, engine: LocalEngine, tokenizer: Tokenizer, positions: int | None) -> Sampler:
    from factory.sampling.local import LocalSampler

    sampler = LocalSampler.load(source.file("hf"), engine, positions)
    if sampler.model.shape.vocab != tokenizer.vocab_size:
        raise SeedmillError(
            f"{source.asset} {source.version} has {sampler.model.shape.vocab} embeddings but the tokenizer {tokenizer.vocab_size} ids: "
            "it was trained with another tokenizer; use its own"
        )
    return sampler
