"""The stage `gguf_model`: the same weights and tokenizer in one file for llama.cpp and Ollama.

No torch is needed to copy weights, so none is imported: bfloat16 is read as the upper half of a float32.

llama.cpp knows split patterns by name only. cl100k_base has one (`dbrx`). A trained vocabulary's comes nearest to `gpt-2`,
which is the same but for numbers of three digits and more: those may be cut at other places than in training.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np

from factory.context import Context
from factory.errors import SeedmillError
from factory.release.chat import GO, JINJA
from factory.release.config import GgufConfig
from factory.tokens.hugging_face import merges
from factory.tokens.tokenizer import IM_END, Tokenizer, load
from factory.tokens.vocabulary import byte_level

SPLIT_PATTERNS = {"trained": "gpt-2", "cl100k_base": "dbrx"}
FILE_TYPES = {"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16}
NUMPY_TYPES = {"F32": np.float32, "F16": np.float16}


def run(context: Context) -> None:
    """Write `model.gguf` and `Modelfile`."""
    config = context.section(GgufConfig)
    tokenizer = load(context.inputs["tokenizer"].path)
    source = context.inputs["hugging_face_model"].file("model")
    settings = json.loads((source / "config.json").read_bytes())
    tensors = dict(named_tensors(source / "model.safetensors", settings["num_hidden_layers"], config.tensor_type))
    path = context.out / "model.gguf"
    write(path, config, settings, tokenizer, tensors)
    check(path, tensors)
    context.add_file("model.gguf")
    (context.out / "Modelfile").write_text(modelfile(settings["max_position_embeddings"]), encoding="utf-8")
    context.add_file("Modelfile")
    context.made("tensor", len(tensors))


def named_tensors(path: Path, layers: int, tensor_type: Literal["F32", "F16"]) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors by their GGUF names: matrices in `tensor_type`, vectors in float32."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.PHI3, layers)
    for name, value in float32_tensors(path):
        target = names.get_name(name, try_suffixes=(".weight",))
        if target is None:
            raise SeedmillError(f"{path.name} holds {name!r}, which llama.cpp's phi3 does not have; export a Phi3ForCausalLM")
        # A value beyond float16's range must stop the export below, not warn.
        with np.errstate(over="ignore"):
            typed = value.astype(NUMPY_TYPES[tensor_type]) if value.ndim > 1 else value
        if not np.isfinite(typed).all():
            raise SeedmillError(f"tensor {name!r} has values that {tensor_type} cannot hold; set release.gguf.tensor_type to F32")
        yield target, typed


def float32_tensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a safetensors file (F32, F16 or BF16), sorted by name, as float32."""
    data = np.memmap(path, np.uint8, "r")
    size = int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8 : 8 + size].tobytes())
    header.pop("__metadata__", None)
    for name, entry in sorted(header.items()):
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        yield name, _as_float32(data[begin:end], entry["dtype"]).reshape(entry["shape"])


def write(path: Path, config: GgufConfig, settings: dict[str, Any], tokenizer: Tokenizer, tensors: dict[str, np.ndarray]) -> None:
    """Write the file: model sizes, tokenizer with chat template, tensors."""
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.PHI3])
    writer.add_name(config.model_name)
    writer.add_file_type(FILE_TYPES[config.tensor_type])
    _add_sizes(writer, settings)
    _add_tokenizer(writer, tokenizer)
    for name, value in tensors.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Read the file back; raises when a tensor is not, bit for bit, what was to be written."""
    found = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}
    wrong = [name for name in sorted({*found, *tensors}) if not np.array_equal(found.get(name, ()), tensors.get(name, ()))]
    if wrong:
        raise SeedmillError(
            f"{path.name} reads back other tensors than were written: {wrong[:3]}; the disk or the gguf package is at fault"
        )


def modelfile(positions: int) -> str:
    """Ollama's recipe for the file beside it."""
    return f'FROM ./model.gguf\nTEMPLATE """{GO}"""\nPARAMETER stop "{IM_END}"\nPARAMETER num_ctx {positions}\nPARAMETER temperature 0\n'


def _as_float32(raw: np.ndarray, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    known = {"F32": np.float32, "F16": np.float16}
    if dtype not in known:
        raise SeedmillError(f"a tensor has type {dtype}; the GGUF export reads {', '.join([*known, 'BF16'])}")
    return raw.view(known[dtype]).astype(np.float32)


def _add_sizes(writer: gguf.GGUFWriter, settings: dict[str, Any]) -> None:
    heads = settings["num_attention_heads"]
    writer.add_context_length(settings["max_position_embeddings"])
    writer.add_rope_scaling_orig_ctx_len(settings["original_max_position_embeddings"])
    writer.add_embedding_length(settings["hidden_size"])
    writer.add_feed_forward_length(settings["intermediate_size"])
    writer.add_block_count(settings["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(settings["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(settings["rms_norm_eps"])
    writer.add_rope_dimension_count(settings["hidden_size"] // heads)
    writer.add_rope_freq_base(settings["rope_theta"])
    writer.add_sliding_window(0)  # llama.cpp's phi3 asks for it; 0 is full attention
    writer.add_vocab_size(settings["vocab_size"])


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    names, types = vocabulary(tokenizer)
    printed = byte_level()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(SPLIT_PATTERNS[tokenizer.spec.kind])
    writer.add_token_list(names)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join("".join(printed[byte] for byte in half) for half in pair) for pair in merges(tokenizer.ranks)])
    writer.add_bos_token_id(tokenizer.eod)
    writer.add_eos_token_id(tokenizer.im_end)
    writer.add_pad_token_id(tokenizer.pad)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(JINJA)


def vocabulary(tokenizer: Tokenizer) -> tuple[list[str], list[int]]:
    """Every id's name, in byte-level characters, and its type, in the order of ids."""
    printed, kinds = byte_level(), gguf.TokenType
    known = {rank: ("".join(printed[byte] for byte in token), kinds.NORMAL) for token, rank in tokenizer.ranks.items()}
    known |= {number: (name, kinds.CONTROL) for name, number in tokenizer.spec.special_tokens.items()}
    known |= {number: (name, kinds.UNUSED) for name, number in tokenizer.spec.unused_tokens.items()}
    rows = [known[number] for number in range(tokenizer.vocab_size)]
    return [name for name, _ in rows], [int(kind) for _, kind in rows]
