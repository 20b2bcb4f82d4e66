"""The same tokenizer as a Hugging Face `tokenizer.json`, with identical ids.

tiktoken merges whatever pair forms a known token of the lowest rank; Hugging Face merges listed pairs only. So every pair
that forms a token is listed, by rank, which makes the two algorithms one (the way of transformers' own converter).
"""

from collections.abc import Iterator, Mapping

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from factory.tokens.tokenizer import Tokenizer as SeedmillTokenizer
from factory.tokens.vocabulary import byte_level


def hugging_face_tokenizer(tokenizer: SeedmillTokenizer) -> Tokenizer:
    """A `tokenizers.Tokenizer` whose ids on plain text are those of ours; every control and unused id is a special token of it."""
    characters = byte_level()
    names = {token: "".join(characters[byte] for byte in token) for token in tokenizer.ranks}
    vocabulary = {names[token]: rank for token, rank in tokenizer.ranks.items()}
    pairs = [(names[left], names[right]) for left, right in merges(tokenizer.ranks)]
    model = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(tokenizer.spec.pattern), "isolated")
    model.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])  # pyright: ignore[reportAttributeAccessIssue]
    model.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    special = {**tokenizer.spec.special_tokens, **tokenizer.spec.unused_tokens}
    # Tokens are added in the order of their ids: `tokenizers` numbers them itself, from the vocabulary's size on.
    for name, _ in sorted(special.items(), key=lambda item: item[1]):
        model.add_special_tokens([AddedToken(name, special=True, normalized=False)])
    return model


def merges(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Every pair of tokens that forms a token, by the rank of what it forms, then by the ranks of the pair."""
    for token, _ in sorted(ranks.items(), key=lambda item: item[1]):
        halves = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [(left, right) for left, right in halves if left in ranks and right in ranks]
        yield from sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
