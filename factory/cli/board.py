"""What a run has said so far, as data: every asset's line, put together from the events that the run appends to its file."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["waiting", "running", "done", "reused", "failed"]
PLAIN = ("kind", "time", "asset", "done", "total", "unit")
SHOWN_LOG_LINES = 3


@dataclass
class Line:
    """One asset of a run."""

    asset: str
    group: str
    state: State = "waiting"
    done: float = 0
    total: float = 0
    unit: str = ""
    started: float = 0.0
    seconds: float = 0.0
    rows: int = 0
    tokens: int = 0
    error: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    _first: tuple[float, float] | None = None
    _last: tuple[float, float] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "reused", "failed")

    @property
    def share(self) -> float:
        """How much of it is done, between 0 and 1."""
        return 1.0 if self.state in ("done", "reused") else min(1.0, self.done / self.total) if self.total else 0.0

    def elapsed(self, now: float) -> float:
        """Seconds that it has run."""
        return now - self.started if self.state == "running" else self.seconds

    def left(self, now: float) -> float | None:
        """Seconds left at the pace since its first sign of progress (a resumed stage begins far from 0); None while unknown."""
        if self.state != "running" or self._first is None or self._last is None or self._last[1] <= self._first[1]:
            return None
        pace = (self._last[1] - self._first[1]) / max(1e-9, self._last[0] - self._first[0])
        return max(0.0, (self.total - self._last[1]) / pace - (now - self._last[0]))

    def advance(self, event: dict[str, Any]) -> None:
        """Take in a progress event; numbers beside the count (loss, rate) become figures."""
        self.done, self.total, self.unit = event["done"], event["total"], event["unit"]
        self._last = (event["time"], self.done)
        self._first = self._first or self._last
        self.figures = {name: value for name, value in event.items() if name not in PLAIN and isinstance(value, int | float)}


class Board:
    """All lines of a run, by asset, in the order that data flows."""

    def __init__(self, groups: dict[str, str]) -> None:
        self.lines = {asset: Line(asset, group) for asset, group in groups.items()}
        self.log: deque[str] = deque(maxlen=SHOWN_LOG_LINES)
        self.started = time.time()

    @property
    def groups(self) -> dict[str, list[Line]]:
        """The lines by group."""
        found: dict[str, list[Line]] = {}
        for line in self.lines.values():
            found.setdefault(line.group, []).append(line)
        return found

    @property
    def failed(self) -> list[Line]:
        """The lines that failed."""
        return [line for line in self.lines.values() if line.state == "failed"]

    def hear(self, event: dict[str, Any]) -> None:
        """Take in one event; kinds that are not known here, and assets outside of the selection, are left alone."""
        line = self.lines.get(event["asset"])
        if line is None:
            return
        kind = event["kind"]
        if kind == "started":
            line.state, line.started = "running", event["time"]
        elif kind == "progress":
            line.advance(event)
        elif kind == "finished":
            line.state = "reused" if event["reused"] else "done"
            line.seconds, line.rows, line.tokens = event["seconds"], event["rows"], event["tokens"]
        elif kind == "failed":
            line.state, line.seconds = "failed", event["time"] - line.started
            line.error = event["error"].removeprefix(f"{line.asset}: ")  # some say it themselves; it stands before the error here
        elif kind == "log":
            self.log.append(f"{line.asset}: {event['text']}")
