"""Results as people read them; each function prints one command's JSON to a console."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from factory.cli.words import count, duration, percent, size

Result = dict[str, Any]
STATE_STYLES = {"fresh": "green", "stale": "yellow", "pending": "cyan", "missing": "dim", "unreadable": "red"}
STATE_STYLES |= {"ok": "green", "warn": "yellow", "fail": "red"}
VERDICT_STYLES = {"rose": "green", "fell": "red"}
DIGITS = 8
LONGEST_VALUE = 60
MOST_RECORDS = 20
NUMBERS = ("made", "records", "tokens", "size", "time", "CPU", "money", "code", "seed", "greedy", "sampled")


def status(result: Result, console: Console) -> None:
    """Assets with their states, and how many there are of each."""
    table = _table("asset", "state", "version", "why")
    for row in result["assets"]:
        table.add_row(row["asset"], _styled(row["state"]), row["version"] or "", Text(row["why"]))
    console.print(table)
    states = [row["state"] for row in result["assets"]]
    console.print(", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))


def audit(result: Result, console: Console) -> None:
    """The closure as a numbered table: `from` gives the numbers of what was read."""
    artifacts = result["artifacts"]
    number = {(a["asset"], a["version"]): str(index) for index, a in enumerate(artifacts, 1)}
    table = _table("#", "asset", "version", "digest", "from", "code", "seed", "records", "tokens", "time", "teacher", "money", "commit")
    for artifact in artifacts:
        inputs = " ".join(number[u["asset"], u["version"]] for u in artifact["inputs"])
        table.add_row(
            number[artifact["asset"], artifact["version"]],
            artifact["asset"],
            artifact["version"][:DIGITS],
            artifact["digest"][:DIGITS],
            inputs,
            str(artifact["code_version"]),
            "" if artifact["seed"] is None else str(artifact["seed"]),
            count(artifact["records"]) if artifact["records"] else "",
            count(artifact["tokens"]) if artifact["tokens"] else "",
            duration(artifact["seconds"]),
            artifact["teacher"] or "",
            _money(artifact["cost"]["money"]),
            artifact["commit"][:DIGITS],
        )
    console.print(table)
    totals = result["totals"]
    console.print(
        f"{totals['artifacts']} artefacts, {size(totals['bytes'])}, {duration(totals['cpu_seconds'])} of CPU, "
        f"{count(totals['teacher_requests'])} teacher requests, {_money(totals['money']) or 'no money'}",
        highlight=False,
    )


def diff(result: Result, console: Console) -> None:
    """Sections of changes; those that are empty are left out."""
    old, new = result["old"], result["new"]
    console.print(f"{old['asset']}@{old['version']} -> {new['asset']}@{new['version']}", style="bold", highlight=False)
    console.print("the content is the same" if result["same_content"] else "the content differs")
    for title, name in (("its own recipe section, code and seed", "own"), ("inputs with other content", "inputs")):
        _changes(console, title, result[name])
    for cause in result["causes"]:
        _changes(console, f"began above, in {cause['asset']}", cause["changes"])
    _changes(console, "figures", result["figures"])
    _changes(console, "environment", result["environment"])


def trace(result: Result, console: Console) -> None:
    """Ancestors above, the record, descendants below; long lists are counted by artefact."""
    record = result["record"]
    console.print(Text(f"{record['kind']} {record['id']}", style="bold"))
    console.print(Text(f"{record['source']}: {record['locator']}, licence {record['license']}, by {record['created_by']}", style="dim"))
    console.print(Text(_short(" ".join(record["text"].split()), 4 * LONGEST_VALUE)))
    if origin := _origin(record):
        console.print(Text(origin, style="bold"))
    console.print(_record_tree("made from", result["ancestors"]))
    console.print(_record_tree("fed", result["descendants"]))


def report(result: Result, console: Console) -> None:
    """Stages, checkpoints, and what to do next."""
    if not result["stages"]:
        console.print(f"nothing has been made yet: `{result['commands']['run']}` makes the model", highlight=False, soft_wrap=True)
    table = _table("asset", "time", "CPU", "records", "tokens", "size", "money")
    table.show_header = bool(result["stages"])
    for row in result["stages"]:
        figures = (duration(row["seconds"]), duration(row["cpu_seconds"]), count(row["records"]), count(row["tokens"]), size(row["bytes"]))
        table.add_row(row["asset"], *(figure if figure != "0" else "" for figure in figures), _money(row["cost"]))
    console.print(table)
    if result["checkpoints"]:
        _checkpoints(result["checkpoints"], console)
    if result["wall_seconds"] is not None:
        console.print(_took(result), highlight=False)
    if result["model_card"]:
        console.print(f"model card: {result['model_card']}", highlight=False, soft_wrap=True)
        console.print(f"talk to it: {result['commands']['chat']}     look at the graph: make ui", highlight=False, soft_wrap=True)


def _took(result: Result) -> str:
    """The figures of the last run that made something; an older one's summary may lack some of them."""
    made = "" if result["made"] is None else f" (it made {result['made']} assets)"
    times = f"{duration(result['wall_seconds'])}, {duration(result['cpu_seconds'])} of CPU"
    load = " and ".join(f"{value:.1f}" for value in result["load"] or ())
    ending = f"; load of the machine at its start and end: {load}" if load else ""
    return f"the last run that made something{made} took {times}, at most {size(result['peak_rss_bytes'])} of memory{ending}"


def doctor(result: Result, console: Console) -> None:
    """A line for each finding, with its remedy."""
    for check in result["checks"]:
        console.print(Text.assemble(_styled(check["state"]), " " * (5 - len(check["state"])), f"{check['name']}: {check['detail']}"))
        if check["remedy"]:
            console.print(Text(f"     {check['remedy']}", style="bold"))


def _checkpoints(checkpoints: list[Result], console: Console) -> None:
    table = _table(
        "checkpoint",
        "greedy",
        "",
        "sampled",
        "",
        title="held-out problems solved (95 % Wilson interval, change since the checkpoint before)",
    )
    for row in checkpoints:
        cells = [cell for mode in ("greedy", "sampled") for cell in (_score(row[mode]), _verdict(row, mode))]
        table.add_row(row["asset"], *cells)
    console.print(table)


def _score(score: Result) -> str:
    return f"{percent(score['accuracy'])} [{percent(score['low'])}, {percent(score['high'])}] of {score['n']}"


def _verdict(row: Result, mode: str) -> Text:
    verdict = row["change"][mode]["verdict"] if "change" in row else ""
    return Text(verdict, style=VERDICT_STYLES.get(verdict, "dim"))


def _changes(console: Console, title: str, changes: list[Result]) -> None:
    if not changes:
        return
    console.print(Text(f"\n{title}", style="bold"))
    table = _table("", "old", "new")
    for change in changes:
        table.add_row(change["field"], Text(_value(change["old"])), Text(_value(change["new"])))
    console.print(table)


def _record_tree(title: str, entries: list[Result]) -> Tree:
    records = [entry for entry in entries if entry["type"] == "record"]
    tree = Tree(f"{title}: {len(records)} records" if records else f"{title}: no other record")
    for entry in records[:MOST_RECORDS]:
        where = f"{entry['source']}: {entry['locator']}" if entry["kind"] else "not among this experiment's records"
        origin = f": {made}" if (made := _origin(entry)) else ""
        tree.add(Text(f"{entry['id']} {entry['kind'] or ''} {where} ({', '.join(entry['assets'])}){origin}"))
    if len(records) > MOST_RECORDS:
        tree.add(f"and {len(records) - MOST_RECORDS} more (--json lists all)")
    for entry in entries[len(records) :]:
        tree.add(Text(f"{entry['type']} {entry['asset']}@{entry['version'][:DIGITS]}: {_held(entry)}", style="bold"))
    return tree


def _origin(record: Result) -> str:
    """Where a record that was made from no other begins; nothing where its source and locator say it."""
    origin = record["origin"]
    if origin is None or origin["seed"] is None:
        return ""
    drawn = "".join(f", {purpose} {seed}" for purpose, seed in origin["seeds"].items())
    return f"generated by {record['created_by']} in {origin['asset']}@{origin['version'][:DIGITS]} from seed {origin['seed']}{drawn}"


def _held(entry: Result) -> str:
    if entry["type"] == "training set":
        return f"{entry['items']} items" + (f", {count(entry['tokens'])} tokens" if entry["tokens"] is not None else "")
    if entry["seen"] is None:
        return f"made from {', '.join(entry['through'])}"
    steps = f", between steps {entry['first_step']} and {entry['last_step']}" if entry["seen"] else ""
    return f"read {entry['seen']} times{steps}, through {', '.join(entry['through'])}"


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(box=None, title=title, title_justify="left", title_style="bold", header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in NUMBERS else "left", overflow="fold")
    return table


def _styled(state: str) -> Text:
    return Text(state, style=STATE_STYLES[state])


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return _short(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), LONGEST_VALUE)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _money(value: float) -> str:
    return f"{value:.4g}" if value else ""
