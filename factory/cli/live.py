"""Two ways to watch a run: a view that redraws itself in a terminal, and plain lines everywhere else."""

import time
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from factory.cli.board import Board, Line
from factory.cli.words import count, duration

REFRESHES_A_SECOND = 4
SECONDS_BETWEEN_LINES = 15.0
FIGURES_SHOWN = 3


class View(Protocol):
    """Shows a board while its run goes on."""

    def show(self, event: dict[str, Any]) -> None:
        """Say what an event, which the board has taken in already, changed."""
        ...

    def note(self, text: str) -> None:
        """Say something about the run itself."""
        ...


class LiveView:
    """A table that redraws itself while `screen` is open: groups with their bars, and below each the assets that run or failed."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._note = ""
        self.screen = Live(console=console, get_renderable=self.render, refresh_per_second=REFRESHES_A_SECOND, transient=True)

    def show(self, event: dict[str, Any]) -> None:
        """Redraw at once where something began or ended; the rest waits for the next refresh."""
        if event["kind"] != "progress":
            self.screen.refresh()

    def note(self, text: str) -> None:
        """Show a text above the table."""
        self._note = text

    def render(self) -> RenderableType:
        """The whole view as it stands."""
        now = time.time()
        lines = list(self._board.lines.values())
        ended = sum(line.ended for line in lines)
        head = Text(f"{ended} of {len(lines)} assets, {duration(now - self._board.started)}", style="bold")
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for name, group in self._board.groups.items():
            _group_row(table, name, group, now)
            for line in group:
                if line.state in ("running", "failed"):
                    _asset_row(table, line, now)
        return Group(head, Text(self._note, style="yellow"), table, *(Text(text, style="dim", no_wrap=True) for text in self._board.log))


def _group_row(table: Table, name: str, lines: list[Line], now: float) -> None:
    ended = sum(line.ended for line in lines)
    style = "green" if ended == len(lines) else "bold" if any(line.state == "running" for line in lines) else "dim"
    seconds = sum(line.elapsed(now) for line in lines)
    bar = ProgressBar(total=len(lines), completed=sum(line.share for line in lines), width=24)
    table.add_row(Text(name, style=style), bar, f"{ended} of {len(lines)}", duration(seconds) if seconds else "", "")


def _asset_row(table: Table, line: Line, now: float) -> None:
    if line.state == "failed":
        table.add_row(
            Text(f"  {line.asset}", style="red"), "", "failed", duration(line.seconds), Text(line.error, style="red", no_wrap=True)
        )
        return
    bar = ProgressBar(total=1, completed=line.share, width=24, pulse=not line.total)
    left = line.left(now)
    times = duration(line.elapsed(now)) + (f", {duration(left)} left" if left is not None else "")
    table.add_row(f"  {line.asset}", bar, _progress(line), times, Text(_figures(line.figures), style="dim", no_wrap=True))


class PlainView:
    """A line when an asset starts and ends, and one now and then while it runs: for logs and pipes."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._spoke: dict[str, float] = {}

    def note(self, text: str) -> None:
        """Print a text on a line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, event: dict[str, Any]) -> None:
        """Print the line of an event, if it is worth one."""
        line = self._board.lines.get(event["asset"])
        if line and (text := self._text(event, line)):
            self.note(f"{line.asset}: {text}")

    def _text(self, event: dict[str, Any], line: Line) -> str:
        kind = event["kind"]
        if kind == "finished":
            made = [f"{count(line.rows)} records"] * bool(line.rows) + [f"{count(line.tokens)} tokens"] * bool(line.tokens)
            return ", ".join([f"{line.state} in {duration(line.seconds)}", *made])
        if kind == "progress" and event["time"] - self._spoke.get(line.asset, line.started) > SECONDS_BETWEEN_LINES:
            self._spoke[line.asset] = event["time"]
            left = line.left(event["time"])
            return ", ".join(filter(None, [_progress(line), _figures(line.figures), f"{duration(left)} left" if left is not None else ""]))
        return {"started": "started", "log": event.get("text", ""), "failed": f"failed: {line.error}"}.get(kind, "")


def _progress(line: Line) -> str:
    return f"{count(line.done)} of {count(line.total)} {line.unit}" if line.total else ""


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in list(figures.items())[:FIGURES_SHOWN])
