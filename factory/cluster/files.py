"""Reading growing files by byte offset: whole lines only, so a line that is being written is read when it is complete."""

import json
from pathlib import Path
from typing import Any

from factory.cluster.api import News, Offsets

CHUNK = 1 << 20


def read_news(folder: Path, offsets: Offsets) -> News:
    """What `messages.jsonl` and `log.txt` in a job's folder gained since `offsets`."""
    messages, messages_end = new_lines(folder / "messages.jsonl", offsets.messages)
    log, log_end = new_lines(folder / "log.txt", offsets.log)
    return News(Offsets(messages_end, log_end), [message for line in messages if (message := _parse(line))], log)


def new_lines(path: Path, offset: int) -> tuple[list[str], int]:
    """The complete lines from byte `offset` on, and the offset after them; reads to the end in bounded pieces."""
    lines: list[str] = []
    if not path.exists():
        return lines, offset
    with path.open("rb") as stream:
        stream.seek(offset)
        rest = b""
        while piece := stream.read(CHUNK):
            *whole, rest = (rest + piece).split(b"\n")
            lines.extend(line.decode("utf-8", "replace") for line in whole)
        return lines, stream.tell() - len(rest)


def _parse(line: str) -> dict[str, Any] | None:
    """A message, or the raw line as one: ranks that die while writing may leave half a line behind."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return {"kind": "log", "text": line} if line.strip() else None
