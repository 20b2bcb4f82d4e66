"""A checkpoint as small as one can be, trained by the trainer itself for a few steps, and stages run on it."""

from pathlib import Path
from typing import Any

from factory.context import Context
from factory.job import load
from factory.spec import InputSpec, JobSpec
from factory.tokens import vocabulary
from factory.tokens.hugging_face import hugging_face_tokenizer
from factory.tokens.indexed import ShardWriter

TEXT = "Exercise: Tom has {a} apples and gains {b}. How many has he?\nAnswer: {c}\n"
SHAPE = {"layers": 2, "hidden_size": 32, "ffn_hidden_size": 48, "attention_heads": 4, "kv_heads": 2, "rope_base": 20_000.0}
TRAINING = {"micro_batch": 2, "global_batch": 2, "sequence_length": 32, "steps": 3, "model": SHAPE}


def stage(folder: Path, run: str, section: dict[str, Any], inputs: dict[str, Path], **runtime: Any) -> Context:
    """Run a stage here; its outputs are in `context.out`."""
    specs = {name: InputSpec(asset=name, version="v", digest=f"digest of {name}", path=str(path)) for name, path in inputs.items()}
    asset = folder.name
    context = Context.of(
        JobSpec(key=asset, asset=asset, run=run, section=section, seed=1, inputs=specs, folder=str(folder), runtime=runtime)
    )
    load(run)(context)
    context.result()
    return context


def tokenizer(folder: Path) -> Path:
    folder.mkdir(parents=True)
    made = vocabulary.trained((TEXT.format(a=a, b=b, c=a + b) for a in range(50) for b in range(9)), 600, 64)
    made.save(folder)
    hugging_face_tokenizer(made).save(str(folder / "tokenizer.json"))
    return folder


def checkpoint(folder: Path, tokenizer_folder: Path, precision: str) -> Path:
    from factory.tokens.tokenizer import load as load_tokenizer

    encode, shard = load_tokenizer(tokenizer_folder), folder / "token_shards"
    with ShardWriter(shard / "shard", encode.vocab_size) as writer:
        for a in range(40):
            writer.add([*encode.encode(TEXT.format(a=a, b=2, c=a + 2)), encode.eod])
    (folder / "blend").mkdir()
    (folder / "blend" / "blend.json").write_text('{"clusters": [{"name": "web", "share": 1.0}]}')
    inputs = {"tokenizer": tokenizer_folder, "pretraining_blend": folder / "blend", "token_shards/web": shard}
    return stage(folder / "pretrained", "factory.training.pretrain:run", TRAINING | {"precision": precision}, inputs).out
