"""Errors a user can mend: each names the thing, the value and the remedy, and is shown as one line."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
USER_ERROR = 64
"""The exit status of a program that ends with a `SeedmillError`."""


class SeedmillError(Exception):
    """A user's mistake or a broken environment. The command line prints it without a traceback."""


@contextlib.contextmanager
def explaining_a_full_disk(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk, or of a quota that is used up, into one line that says where to make room.

    Libraries raise errors of their own when a write failed: what counts is the system's behind them.
    """
    try:
        yield
    except SeedmillError:
        raise
    except Exception as error:
        behind = system_error(error)
        if behind is None or behind.errno not in NO_ROOM:
            raise
        raise no_room(folder) from error


def system_error(error: BaseException) -> OSError | None:
    """The operating system's error that `error` is, or was raised from or while handling; None where there is none."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found


def no_room(folder: Path) -> SeedmillError:
    """The error of a full disk."""
    return SeedmillError(f"no room left to write {folder}: free some, or set SEEDMILL_HOME elsewhere, and run again")
