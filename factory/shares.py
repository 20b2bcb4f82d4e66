"""Pieces of a stage's work that its ranks divide among them; a finished piece is a sealed part (see `factory.parts`)."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from factory.parts import Parts, sealed, unsealed

POLL_SECONDS = 0.2
PieceT = TypeVar("PieceT")


@dataclass(frozen=True)
class Shares:
    """Which of the numbered pieces this rank makes, and where all find them. `read` opens a piece, and refuses it with None."""

    parts: Parts
    name: str
    rank: int
    world: int

    @classmethod
    def of_this_rank(cls, parts: Parts, name: str) -> "Shares":
        """By the variables that every launcher sets; one rank alone makes all."""
        return cls(parts, name, int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))

    @property
    def leads(self) -> bool:
        """Whether this rank puts the pieces together."""
        return self.rank == 0

    def own(self, total: int) -> range:
        """The pieces of 0 to `total` - 1 that this rank makes."""
        return range(self.rank, total, self.world)

    def commit(self, number: int, data: bytes) -> None:
        """Finish a piece."""
        with self.parts.writing(self._part(number)) as path:
            path.write_bytes(sealed(self._part(number), data))

    def find(self, number: int, read: Callable[[bytes], PieceT | None]) -> PieceT | None:
        """A piece that this attempt or an earlier one finished; None where there is none, not whole, or not for what is asked now."""
        path = self.parts.find(self._part(number))
        data = None if path is None else unsealed(path)
        return None if data is None else read(data)

    def wait(self, number: int, read: Callable[[bytes], PieceT | None]) -> PieceT:
        """A piece, once its rank has finished it. A rank that fails takes this one with it: the launcher sees to that."""
        while (piece := self.find(number, read)) is None:
            time.sleep(POLL_SECONDS)
        return piece

    def _part(self, number: int) -> str:
        return f"{self.name}-{number:05d}.json"
