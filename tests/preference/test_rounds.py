"""A kept round is used only where it is whole and the very one: a cache that a damaged file poisons ends, or falsifies, all later runs."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from factory.parts import SEAL_BYTES, Parts
from factory.preference.rounds import Rounds
from factory.sampling.api import Completion, SampleRequest, SamplingSettings, Usage

SETTINGS = SamplingSettings(temperature=1.0, max_new_tokens=4, stop=(9,))
ASKED = [SampleRequest((1, 2), 2), SampleRequest((3,), 1)]
OTHERS = [SampleRequest((1, 2), 2), SampleRequest((4,), 1)]


class Counting:
    """A sampler whose every completion holds its seed, and which counts its calls."""

    def __init__(self) -> None:
        self.usage = Usage()
        self.calls = 0

    def sample(self, requests: Sequence[SampleRequest], settings: SamplingSettings, seed: int) -> list[list[Completion]]:
        assert settings == SETTINGS
        self.calls += 1
        self.usage.prefill_tokens += 3
        self.usage.decode_tokens += 7
        drawn = Completion((seed, 9), (-0.1, -1e-9), stopped=True)
        return [[drawn] * request.count for request in requests]

    def log_probs(self, sequences: Sequence[tuple[int, ...]], temperature: float = 1.0) -> list[tuple[float, ...]]:
        raise NotImplementedError


def seed(part: str) -> int:
    return int(part[-5:])


def two_rounds(
    folder: Path, previous: Path | None = None, asked: Sequence[SampleRequest] = ASKED
) -> tuple[list[list[list[Completion]]], Usage, int]:
    """What two rounds draw, what they cost, and how often the sampler was asked."""
    sampler = Counting()
    rounds = Rounds(sampler, Parts(folder, (previous,) if previous else ()), seed)
    return [rounds.draw(asked, SETTINGS) for _ in range(2)], rounds.usage, sampler.calls


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_first(path: Path) -> None:
    flip(path, 40)


def flip_count(path: Path) -> None:
    """In the count of the tokens drawn, which is no row of the table."""
    flip(path, path.read_bytes().index(b"decode_tokens"), 19)


def flip_seal(path: Path) -> None:
    flip(path, path.stat().st_size - SEAL_BYTES)


def flip(path: Path, place: int, bit: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= bit
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap(path: Path) -> None:
    """The first round, which was asked the same, in the place of the second: its samples would count twice."""
    shutil.copyfile(path.with_name("round-00001.parquet"), path)


@pytest.mark.parametrize("damage", [cut, halve, flip_first, flip_count, flip_seal, empty, swap])
@pytest.mark.parametrize("attempt", ["the same attempt", "the next"])
def test_a_damaged_round_is_sampled_again_to_the_same_end(tmp_path: Path, damage: Callable[[Path], None], attempt: str) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    drawn, usage, calls = two_rounds(first)
    assert calls == 2
    damage(first / "round-00002.parquet")
    folder, previous = (first, None) if attempt == "the same attempt" else (second, first)
    assert two_rounds(folder, previous) == (drawn, usage, 1)
    assert two_rounds(folder, previous) == (drawn, usage, 0), "the round is whole again"


def test_whole_rounds_are_kept_for_what_was_asked_and_for_nothing_else(tmp_path: Path) -> None:
    drawn, usage, _ = two_rounds(tmp_path / "1")
    assert drawn[0] != drawn[1], "what is asked twice is drawn anew"
    assert two_rounds(tmp_path / "2", tmp_path / "1") == (drawn, usage, 0)
    assert two_rounds(tmp_path / "3", tmp_path / "1", OTHERS)[2] == 2
