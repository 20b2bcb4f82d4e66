"""Cutting documents into passages: whole paragraphs of prose, whole top-level definitions of code, with their line numbers."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

Boundary = Callable[[list[str], int], bool]

_TOP_LEVEL = re.compile(r"[^\s)\]}]")


@dataclass(frozen=True)
class Passage:
    """Lines `start` to `end` of a document, counted from 1, both included."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Block:
    start: int
    lines: list[str]

    @property
    def size(self) -> int:
        return sum(len(line) + 1 for line in self.lines)


def passages(text: str, *, code: bool, shortest: int, longest: int) -> Iterator[Passage]:
    """Cut a text into passages of `shortest` to `longest` characters; shorter leftovers are left out, longer lines too.

    Neighbouring blocks join while they fit. A block too long is cut at its blank lines, then at any line.
    """
    boundaries = (_definition, _paragraph, _line) if code else (_paragraph, _line)
    blocks = _blocks(_Block(1, text.split("\n")), boundaries, longest)
    for group in _packed(blocks, longest):
        lines = [line for block in group for line in block.lines]
        body = "\n".join(lines).strip("\n")
        if len(body.strip()) >= shortest and len(body) <= longest:
            first = group[0].start + next(i for i, line in enumerate(lines) if line.strip())
            yield Passage(first, first + body.count("\n"), body)


def _blocks(whole: _Block, boundaries: tuple[Boundary, ...], longest: int) -> Iterator[_Block]:
    if whole.size <= longest or not boundaries:
        yield whole
        return
    cuts = [0, *(i for i in range(1, len(whole.lines)) if boundaries[0](whole.lines, i)), len(whole.lines)]
    for begin, end in pairwise(cuts):
        yield from _blocks(_Block(whole.start + begin, whole.lines[begin:end]), boundaries[1:], longest)


def _packed(blocks: Iterator[_Block], longest: int) -> Iterator[list[_Block]]:
    group: list[_Block] = []
    size = 0
    for block in blocks:
        if group and size + block.size > longest:
            yield group
            group, size = [], 0
        group.append(block)
        size += block.size
    if group:
        yield group


def _definition(lines: list[str], index: int) -> bool:
    return not lines[index - 1].strip() and _TOP_LEVEL.match(lines[index]) is not None


def _paragraph(lines: list[str], index: int) -> bool:
    return not lines[index - 1].strip() and bool(lines[index].strip())


def _line(_lines: list[str], _index: int) -> bool:
    return True
