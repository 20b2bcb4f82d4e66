"""The stage `hugging_face_model`: the aligned checkpoint as a folder that `transformers` loads without further ado.

The weights are the trainer's own export. What is added is what a user needs and a release easily gets wrong: tokenizer, chat
template, end of sequence and padding. Then the folder is compared with the trainer's model and with our tokenizer.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from factory.context import Context
from factory.release import parity
from factory.release.chat import JINJA
from factory.release.config import HuggingFaceConfig
from factory.tokens.tokenizer import EOD, IM_END, PAD, Tokenizer, load

CHECKPOINT = "judged_dpo_checkpoint"


def run(context: Context) -> None:
    """Write the folder `model` and `parity.json`; raises when the exported model is not the trained one."""
    config = context.section(HuggingFaceConfig)
    tokenizer = load(context.inputs["tokenizer"].path)
    write_model(context, tokenizer, config.model_name)
    context.add_file("model")
    measured = parity.compare(context, CHECKPOINT, context.out / "model", tokenizer, config)
    context.write_json("parity.json", parity.report(measured, config))
    context.metrics.update(measured)


def write_model(context: Context, tokenizer: Tokenizer, model_name: str) -> None:
    """Weights, configuration and tokenizer of the checkpoint, in `model`."""
    source, folder = context.inputs[CHECKPOINT].file("hf"), context.out / "model"
    folder.mkdir()
    shutil.copyfile(source / "model.safetensors", folder / "model.safetensors")
    shutil.copyfile(context.inputs["tokenizer"].file("tokenizer.json"), folder / "tokenizer.json")
    settings = json.loads((source / "config.json").read_bytes())
    _write(folder / "config.json", settings | ends(tokenizer) | {"_name_or_path": model_name})
    _write(folder / "generation_config.json", ends(tokenizer))
    _write(folder / "special_tokens_map.json", special_tokens())
    _write(folder / "tokenizer_config.json", tokenizer_config(settings["max_position_embeddings"]))
    (folder / "chat_template.jinja").write_text(JINJA, encoding="utf-8")


def ends(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids with which generation begins, ends and pads: a chat ends with its turn, and padding is a token of its own."""
    return {"bos_token_id": tokenizer.eod, "eos_token_id": tokenizer.im_end, "pad_token_id": tokenizer.pad}


def special_tokens() -> dict[str, str]:
    """The same by name."""
    return {"bos_token": EOD, "eos_token": IM_END, "pad_token": PAD}


def tokenizer_config(positions: int) -> dict[str, Any]:
    """`tokenizer_config.json`; nothing is put before or after a text but what the chat template puts there."""
    return {
        **special_tokens(),
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": positions,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "add_eos_token": False,
        "chat_template": JINJA,
    }


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
