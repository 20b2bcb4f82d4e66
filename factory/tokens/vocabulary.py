"""Which byte strings, control tokens and unused ids make a vocabulary.

Numbers decide whether a tiny model learns to compute: with every whole number below 100 one token, leading space included,
it copies operands within 1.4M tokens, and not at all when they are split. So those tokens are put in, not hoped for: the
split pattern never joins a digit with anything else, hence their merges touch no other and can come first.
"""

from collections.abc import Iterable

import tiktoken
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from factory.errors import SeedmillError
from factory.tokens.tokenizer import EOD, IM_END, IM_SEP, IM_START, PAD, TokenizerSpec
from factory.tokens.tokenizer import Tokenizer as SeedmillTokenizer

NUMBER = r" ?\p{N}{1,2}"
TRAINED_PATTERN = rf"'(?:[sdmt]|ll|ve|re)| ?\p{{L}}+|{NUMBER}| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
TRAINED_CONTROL = (EOD, IM_START, IM_END, IM_SEP, PAD)

CL100K_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""GPT-4's pattern in the form that Hugging Face's regex engine reads alike; tiktoken's own needs possessive quantifiers."""
CL100K_VOCAB = 100_352
CL100K_CONTROL = {
    EOD: 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    IM_START: 100264,
    IM_END: 100265,
    IM_SEP: 100266,
    "<|endofprompt|>": 100276,
    PAD: 100349,
}
"""Phi-4's ids; its released padding token is `<|dummy_85|>`, which has this id."""


def trained(texts: Iterable[str], vocab_size: int, padded_multiple: int) -> SeedmillTokenizer:
    """A byte-level BPE trained on texts, with at most `vocab_size` ids before padding."""
    ranks = train_ranks(texts, vocab_size - len(TRAINED_CONTROL))
    control = {name: len(ranks) + index for index, name in enumerate(TRAINED_CONTROL)}
    padded = -(-vocab_size // padded_multiple) * padded_multiple
    spec = TokenizerSpec(
        kind="trained",
        pattern=TRAINED_PATTERN,
        vocab_size=padded,
        special_tokens=control,
        unused_tokens=_unused(ranks, control, padded),
    )
    return SeedmillTokenizer(spec, ranks)


def cl100k() -> SeedmillTokenizer:
    """OpenAI's cl100k_base with Phi-4's control tokens, padded to 100,352 ids.

    tiktoken finds the ranks in the folder that TIKTOKEN_CACHE_DIR names, or downloads them.
    """
    try:
        ranks = tiktoken.get_encoding("cl100k_base")._mergeable_ranks
    except OSError as error:
        raise SeedmillError(
            "tokenizer kind cl100k_base: its ranks are neither in the folder of TIKTOKEN_CACHE_DIR nor could they be downloaded; "
            f"put the file 9b5ad71b2ce5302211f9c61530b329a4922fc6a4 there, or set kind to trained ({type(error).__name__})"
        ) from error
    spec = TokenizerSpec(
        kind="cl100k_base",
        pattern=CL100K_PATTERN,
        vocab_size=CL100K_VOCAB,
        special_tokens=CL100K_CONTROL,
        unused_tokens=_unused(ranks, CL100K_CONTROL, CL100K_VOCAB),
    )
    return SeedmillTokenizer(spec, ranks)


def train_ranks(texts: Iterable[str], size: int) -> dict[bytes, int]:
    """At most `size` ranks: the 256 bytes, the whole numbers below 100 (with and without a space), then merges learnt from text."""
    fixed = [bytes([value]) for value in range(256)] + number_tokens()
    # Numbers are cut out before training: their tokens are there already, and would only be learnt twice.
    splits = [pre_tokenizers.Split(Regex(NUMBER), "removed"), pre_tokenizers.Split(Regex(TRAINED_PATTERN), "isolated")]
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])  # pyright: ignore[reportAttributeAccessIssue]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learnt = size - len(number_tokens())
    trainer = trainers.BpeTrainer(vocab_size=learnt, special_tokens=[], initial_alphabet=alphabet, show_progress=False)
    model.train_from_iterator(texts, trainer)
    vocabulary = sorted(model.get_vocab().items(), key=lambda item: item[1])
    tokens = fixed + [from_byte_level(token) for token, _ in vocabulary if len(token) > 1]
    return {token: rank for rank, token in enumerate(tokens)}


def number_tokens() -> list[bytes]:
    """10 to 99, then 0 to 99 after a space: an order in which each is one merge of two earlier tokens."""
    return [b"%d" % number for number in range(10, 100)] + [b" %d" % number for number in range(100)]


def byte_level() -> dict[int, str]:
    """GPT-2's printable character for each byte, in which Hugging Face writes byte-level tokens."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + index) for index, byte in enumerate(others)}


_BYTE_OF = {character: byte for byte, character in byte_level().items()}


def from_byte_level(token: str) -> bytes:
    """The bytes that a byte-level token stands for."""
    return bytes(_BYTE_OF[character] for character in token)


def _unused(ranks: dict[bytes, int], control: dict[str, int], vocab_size: int) -> dict[str, int]:
    """A name for every id below `vocab_size` that has none: `<|dummy_N|>`, numbered upwards as Phi-4 does."""
    taken = {*ranks.values(), *(number for name, number in control.items() if name != PAD)}
    holes = [number for number in range(vocab_size) if number not in taken]
    named = {f"<|dummy_{index}|>": number for index, number in enumerate(holes)}
    return {name: number for name, number in named.items() if number != control[PAD]}
