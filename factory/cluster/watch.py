"""Looking at a distant queue: not too often, patiently while it is out of reach, and with a memory of what was seen last."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from factory.cluster.api import UnreachableError

S = TypeVar("S")
T = TypeVar("T")


@dataclass
class Look(Generic[S]):
    """What was seen at time `asked`; `tried` is the last try to ask, `since` when it was first seen in this state."""

    seen: S
    asked: float
    tried: float
    since: float


@dataclass
class Watch(Generic[S]):
    """Asks for the state of jobs, each at most every `poll_seconds`; `state_of` tells what counts as a change."""

    ask: Callable[[str], S]
    state_of: Callable[[S], object]
    poll_seconds: float
    patience_seconds: float
    _looks: dict[str, Look[S]] = field(default_factory=dict)
    _met: bool = False

    def look(self, key: str) -> Look[S]:
        """What was seen at most `poll_seconds` ago, or longer while nobody answers; UnreachableError when patience ends."""
        now, old = time.monotonic(), self._looks.get(key)
        if old and now - old.tried < self.poll_seconds:
            return old
        try:
            seen = self.patiently(lambda: self.ask(key)) if old is None else self.ask(key)
        except UnreachableError:
            if old is None or now - old.asked > self.patience_seconds:
                raise
            old.tried = now
            return old
        same = old is not None and self.state_of(old.seen) == self.state_of(seen)
        self._looks[key] = look = Look(seen, asked=now, tried=now, since=old.since if old and same else now)
        return look

    def last(self, key: str) -> Look[S] | None:
        """What was seen last, without asking."""
        return self._looks.get(key)

    def forget(self, key: str) -> None:
        """Ask anew at the next look."""
        self._looks.pop(key, None)

    def met(self) -> None:
        """From now on, trying again may help: the cluster has answered."""
        self._met = True

    def patiently(self, action: Callable[[], T]) -> T:
        """Try again, quietly, as long as the cluster is out of reach and patience lasts; but what never worked is a mistake."""
        deadline = time.monotonic() + self.patience_seconds
        while True:
            try:
                done = action()
            except UnreachableError:
                if not self._met or time.monotonic() > deadline:
                    raise
                time.sleep(self.poll_seconds)
            else:
                self._met = True
                return done
