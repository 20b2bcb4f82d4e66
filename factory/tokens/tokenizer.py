"""Text to token ids and back, and conversations to the ChatML that Phi-4 is trained on.

One `tiktoken.Encoding`, loaded from plain files, serves data, trainer, sampler and preference search. Text is always encoded
as ordinary text: a document that happens to contain `<|endoftext|>` must not end, and a question that contains `<|im_end|>`
must not close its own turn.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import tiktoken
from pydantic import BaseModel, ConfigDict

from factory.digest import canonical_json
from factory.errors import SeedmillError

EOD, IM_START, IM_END, IM_SEP, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|pad|>"
ROLES = ("system", "user", "assistant")

Message = Mapping[str, str]


class TokenizerSpec(BaseModel):
    """`spec.json`: all of a tokenizer but its ranks. Ids without a rank or a name of their own are `unused`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["trained", "cl100k_base"]
    pattern: str
    vocab_size: int
    special_tokens: dict[str, int]
    unused_tokens: dict[str, int]


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer: ranks of mergeable byte strings, control tokens, and unused ids up to the padded `vocab_size`."""

    spec: TokenizerSpec
    ranks: dict[bytes, int]

    @cached_property
    def encoding(self) -> tiktoken.Encoding:
        """The tiktoken encoding behind it; unused ids count as special so that any id decodes."""
        special = {**self.spec.special_tokens, **self.spec.unused_tokens}
        return tiktoken.Encoding(self.spec.kind, pat_str=self.spec.pattern, mergeable_ranks=self.ranks, special_tokens=special)

    @cached_property
    def identity(self) -> str:
        """SHA-256 over specification and ranks: equal identities encode alike."""
        total = hashlib.sha256(canonical_json(self.spec.model_dump()))
        total.update(ranks_bytes(self.ranks))
        return total.hexdigest()

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table: all ids, unused ones included."""
        return self.spec.vocab_size

    @property
    def eod(self) -> int:
        """The id that ends a document."""
        return self.spec.special_tokens[EOD]

    @property
    def pad(self) -> int:
        """The id that fills a batch; distinct from every id that a model may produce."""
        return self.spec.special_tokens[PAD]

    @property
    def im_start(self) -> int:
        """The id that opens a turn."""
        return self.spec.special_tokens[IM_START]

    @property
    def im_sep(self) -> int:
        """The id between a turn's role and its content."""
        return self.spec.special_tokens[IM_SEP]

    @property
    def im_end(self) -> int:
        """The id that closes a turn; a chat model's end of sequence."""
        return self.spec.special_tokens[IM_END]

    @cached_property
    def unused(self) -> tuple[int, ...]:
        """The ids that no text and no template produces, sorted; a sampler never picks them."""
        return tuple(sorted(self.spec.unused_tokens.values()))

    def encode(self, text: str) -> list[int]:
        """The ids of plain text; names of control tokens inside it are text like any other."""
        return self.encoding.encode_ordinary(text)

    def encode_batch(self, texts: Iterable[str], threads: int = 1) -> list[list[int]]:
        """The ids of several texts; tiktoken releases the interpreter lock, so threads help where cores are free."""
        return self.encoding.encode_ordinary_batch(list(texts), num_threads=threads)

    def encode_chat(self, messages: Iterable[Message], add_generation_prompt: bool = True) -> list[int]:
        """The ids of a conversation (`role` and `content` each), with an opened assistant turn at the end when one is asked for.

        ChatML as Phi-4 ships it, joined without line ends:
        `<|im_start|>ROLE<|im_sep|>CONTENT<|im_end|>` for each message, then `<|im_start|>assistant<|im_sep|>`.
        """
        ids, _ = self.encode_conversation(messages)
        return ids + self._header("assistant") if add_generation_prompt else ids

    def encode_conversation(self, messages: Iterable[Message]) -> tuple[list[int], list[int]]:
        """The ids of a whole conversation and its loss mask: 1 on what the assistant says and the `<|im_end|>` after it, else 0."""
        ids: list[int] = []
        mask: list[int] = []
        for message in messages:
            header, content = self._header(message["role"]), [*self.encode(message["content"]), self.im_end]
            ids += header + content
            mask += [0] * len(header) + [int(message["role"] == "assistant")] * len(content)
        return ids, mask

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, control tokens by their names; bytes that are not UTF-8 become U+FFFD."""
        return self.encoding.decode(list(ids), errors="replace")

    def save(self, folder: Path) -> None:
        """Write `ranks.tiktoken` and `spec.json`."""
        (folder / "ranks.tiktoken").write_bytes(ranks_bytes(self.ranks))
        text = json.dumps(self.spec.model_dump(), indent=1, sort_keys=True, ensure_ascii=False)
        (folder / "spec.json").write_text(text + "\n", encoding="utf-8")

    def _header(self, role: str) -> list[int]:
        if role not in ROLES:
            raise SeedmillError(f"message role {role!r} is not one of {', '.join(ROLES)}; rename it")
        return [self.im_start, *self.encode(role), self.im_sep]


def load(folder: Path) -> Tokenizer:
    """The tokenizer in a folder that holds `ranks.tiktoken` and `spec.json`."""
    spec = TokenizerSpec.model_validate_json((folder / "spec.json").read_bytes())
    return Tokenizer(spec, read_ranks(folder / "ranks.tiktoken"))


def read_ranks(path: Path) -> dict[bytes, int]:
    """The ranks in a tiktoken file. tiktoken's own reader caches by path, so it would serve a stale file of the same name."""
    pairs = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def ranks_bytes(ranks: Mapping[bytes, int]) -> bytes:
    """Ranks as a tiktoken file: one base64 token and its rank a line, by rank."""
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in sorted(ranks.items(), key=lambda item: item[1]))


def chatml(messages: Iterable[Message]) -> str:
    """The canonical string of a conversation, for reading and for records; training encodes the messages, never this string."""
    return "".join(f"{IM_START}{message['role']}{IM_SEP}{message['content']}{IM_END}" for message in messages)
