"""Is the exported model the trained one? Logits of `transformers` against Megatron's, and token ids against ours.

Both sides compute in float32 on the same prompts, so that a difference means a wrong conversion and not a rounding. Megatron's
weights come from its own checkpoint, never from the export. And `transformers` attends by its plain ("eager") formula: with the
kernel that the trainer uses too, both sides agree to the last bit on a CPU, and a fault of the kernel would go unseen.
"""

import math
import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from factory.context import Context
from factory.errors import SeedmillError
from factory.release.config import HuggingFaceConfig
from factory.tokens.tokenizer import Message, Tokenizer
from factory.training.architecture import LayoutConfig
from factory.training.config import TrainingConfig
from factory.training.distributed import joined
from factory.training.megatron import DEVICE
from factory.training.model import unwrap
from factory.training.outputs import Vocabulary
from factory.training.stage import Parent, build

PROMPT_TOKENS = 48
ROUNDING = 1e-5
"""Float32 logits of a small model differ by less than this from their float64 values (3e-6 measured)."""
TEXTS = (
    "Exercise: Tom has 12 apples and gains 30. How many has he?\nAnswer: 42",
    "def add(x, y):\n    return x + y  # 3 + 4 = 7\n\n\n\tprint(add(99, 100))",
    "Größe, naïve, 日本語, \N{GRINNING FACE}; don't   stop\r\n",
    "= 0 1 2 9 10 99 100 1234 x=5 (17)",
    "",
)
CHATS: tuple[tuple[Message, ...], ...] = (
    ({"role": "user", "content": "What is 12 + 30?"},),
    (
        {"role": "system", "content": "Be brief.\n"},
        {"role": "user", "content": " What is 5 - 3? "},
        {"role": "assistant", "content": "Answer: 2"},
        {"role": "user", "content": "And doubled?"},
    ),
)


def compare(context: Context, checkpoint: str, folder: Path, tokenizer: Tokenizer, config: HuggingFaceConfig) -> dict[str, Any]:
    """Measure both differences; raises `SeedmillError` on a logit beyond the limit or on any other token id."""
    texts = compare_tokens(folder, tokenizer)
    prompts = torch.tensor(random_prompts(tokenizer, config.parity_prompts))
    ours, theirs = megatron_logits(context, checkpoint, prompts), hugging_face_logits(folder, prompts)
    difference = float((ours - theirs).abs().max())
    agreement = float((ours.argmax(-1) == theirs.argmax(-1)).float().mean())
    # `not <=` refuses NaN as well.
    if not difference <= config.max_logit_difference:
        raise SeedmillError(
            f"the exported model differs from {checkpoint} by {difference:.3g} in a logit (argmax agrees on {agreement:.1%}); "
            f"max_logit_difference allows {config.max_logit_difference:g}: the conversion of weights or the rotary base is wrong"
        )
    return {"logit_difference": difference, "argmax_agreement": agreement, "positions": prompts.numel(), "texts": texts}


def report(measured: dict[str, Any], config: HuggingFaceConfig) -> dict[str, Any]:
    """What `parity.json` says. The difference is given as the power of ten above it, 1e-5 at least: below, it is the processor's."""
    below = 10.0 ** math.ceil(math.log10(max(measured["logit_difference"], ROUNDING)))
    return {
        "argmax_agreement": round(measured["argmax_agreement"], 3),
        "logit_difference_at_most": below,
        "max_logit_difference": config.max_logit_difference,
        "positions": measured["positions"],
        "texts_with_identical_tokens": measured["texts"],
    }


def random_prompts(tokenizer: Tokenizer, number: int) -> list[list[int]]:
    """Rows of random used ids: every part of the embedding table is reached, as it would not be by text."""
    generator, unused = random.Random(0), set(tokenizer.unused)
    used = [token for token in range(tokenizer.vocab_size) if token not in unused]
    return [generator.choices(used, k=PROMPT_TOKENS) for _ in range(number)]


@torch.no_grad()
def hugging_face_logits(folder: Path, prompts: torch.Tensor) -> torch.Tensor:
    """Logits [rows, length, vocab] of the exported folder."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", local_files_only=True).eval()
    return model(prompts).logits


def megatron_logits(context: Context, checkpoint: str, prompts: torch.Tensor) -> torch.Tensor:
    """Logits [rows, length, vocab] of the trainer's own model with the weights of its own checkpoint."""
    training = TrainingConfig(precision="fp32", sequence_length=prompts.shape[1], micro_batch=len(prompts), global_batch=len(prompts))
    with joined(LayoutConfig(), seed=0):
        parent = Parent.of(context, checkpoint)
        model = unwrap(build(training, parent.shape, Vocabulary.of(context), parent)).eval()
        tokens = prompts.to(DEVICE)
        positions = torch.arange(tokens.shape[1], device=DEVICE).expand_as(tokens)
        with torch.no_grad():
            return model(tokens, positions, None).float().cpu()


def compare_tokens(folder: Path, tokenizer: Tokenizer) -> int:
    """Check that `AutoTokenizer` gives our ids on texts and chats; returns how many were compared."""
    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    pairs = [(text, theirs(text)["input_ids"], tokenizer.encode(text)) for text in TEXTS]
    for chat in CHATS:
        for header in (False, True):
            ids = theirs.apply_chat_template(list(chat), add_generation_prompt=header, return_dict=False)
            pairs.append((str(chat), ids, tokenizer.encode_chat(chat, header)))
    for text, found, wanted in pairs:
        if found != wanted:
            raise SeedmillError(
                f"AutoTokenizer gives {found} for {text!r}, our tokenizer {wanted}: the exported tokenizer.json is another's"
            )
    return len(pairs)
