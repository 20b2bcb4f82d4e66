"""Every answer ever paid for, and every amount ever committed, in one SQLite file that survives `kill -9`.

An answer is on the disk before anybody sees it, so it is never paid for twice. The money of a request is reserved before it
is sent, at the most it can cost; the answer replaces that by what it did cost. What a killed process had in flight stays
reserved: it may have been billed. Reservations of processes side by side see each other, so together they keep the cap.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from factory.errors import SeedmillError
from factory.synthesis.teacher import TeacherAnswer

WAIT_SECONDS = 60.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS spending (id INTEGER PRIMARY KEY, key TEXT NOT NULL, money REAL NOT NULL);
"""


class AnswerCache:
    """Answers by the content of their request, and the account beside them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
        with _explained(path):
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_TABLES)

    def find(self, key: str) -> TeacherAnswer | None:
        """The answer to a request that was asked before."""
        with _explained(self.path):
            row = self._database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return TeacherAnswer(**{**json.loads(row[0]), "cached": True}) if row else None

    def spent(self) -> float:
        """All money spent or reserved through this cache, ever."""
        return self._database.execute("SELECT TOTAL(money) FROM spending").fetchone()[0]

    def reserve(self, key: str, most: float, budget: float) -> int:
        """Commit `most` money to a request; the reservation's number. Raises when that would break the budget."""
        with self._transaction():
            spent = self.spent()
            if spent + most > budget:
                raise SeedmillError(
                    f"the teacher's budget of {budget:g} is used up: {spent:g} is spent and the next request may cost {most:g}; "
                    f"raise teacher.budget and run again (all answers so far are kept in {self.path.name})"
                )
            row = self._database.execute("INSERT INTO spending (key, money) VALUES (?, ?)", (key, most))
            return int(row.lastrowid or 0)

    def store(self, key: str, reservation: int, answer: TeacherAnswer) -> None:
        """Keep an answer and replace its reservation by its price, both or neither."""
        with self._transaction():
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(asdict(answer))))
            self._database.execute("UPDATE spending SET money = ? WHERE id = ?", (answer.money, reservation))

    def release(self, reservation: int) -> None:
        """Give back what was reserved for a request that the endpoint refused."""
        self._database.execute("DELETE FROM spending WHERE id = ?", (reservation,))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """`BEGIN IMMEDIATE`: a reservation reads the sum and adds to it with no other writer between."""
        with _explained(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """A file that SQLite cannot read is an error and not an empty cache: what it held was paid for, and its sum is the budget's."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in DAMAGED:
            raise
        raise SeedmillError(
            f"{path}, which holds the teacher's answers and what they cost, is damaged ({error}): bring back a copy, or move it away with "
            "its -wal and -shm files; all is then asked again, and paid for again"
        ) from error
