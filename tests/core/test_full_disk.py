"""A full disk is one line, whoever met it first."""

import errno
from pathlib import Path

import pytest

from factory.errors import SeedmillError, explaining_a_full_disk


def fail(number):
    raise OSError(number, "the system's words")


def write_archive():
    """As torch does, which closes an archive after a failed write."""
    try:
        fail(errno.EDQUOT)
    finally:
        raise RuntimeError("unexpected pos 64 vs 0")


def test_a_librarys_error_over_a_full_disk_is_explained():
    with pytest.raises(SeedmillError, match="no room left to write here: free some"), explaining_a_full_disk(Path("here")):
        write_archive()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_another_error_of_the_system_is_left_alone(number):
    with pytest.raises(OSError, match="the system's words"), explaining_a_full_disk(Path("here")):
        fail(number)


def test_an_explanation_is_not_explained_again():
    with pytest.raises(SeedmillError, match="write there"), explaining_a_full_disk(Path("here")), explaining_a_full_disk(Path("there")):
        fail(errno.ENOSPC)
