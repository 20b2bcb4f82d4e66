"""The way of one record: back to the documents and sources that it was made from, forward to the checkpoints that saw it.

Every record names its parents, so the records themselves are the graph. DuckDB reads ids and parents straight from the
artefacts' Parquet files; the walk goes level by level, since two records may come to have the same text and so form a circle.
"""

from typing import Any

import duckdb

from factory.errors import SeedmillError
from factory.lineage.exposure import training
from factory.lineage.places import COLUMNS, Place, find_places
from factory.store.base import Store
from factory.store.manifest import Manifest

SHOWN = ("source", "locator", "license", "kind", "created_by")


def trace(store: Store, manifests: list[Manifest], record: str) -> dict[str, Any]:
    """Where a record came from and what it fed, within `manifests` (upstream first), as JSON.

    `record` is an id or the beginning of one. A record that was made from no other has an `origin`: the version that made it, its
    seed where it was drawn by a program, and its `source_version` where it was read. Raises SeedmillError when no record, or more
    than one, begins so.
    """
    places = find_places(store, manifests)
    own = [place for place in places if place.key == "id"]
    db = _load(own)
    found = _resolve(db, record, len(own))
    above, below = _walk(db, found, "child", "parent"), _walk(db, found, "parent", "child")
    known = _describe(db, own, [found, *above, *below])
    db.execute("CREATE TABLE held AS SELECT unnest(?) AS id", [[found, *below]])
    return {
        "record": {**known[found], "text": _text(db, own, found)},
        "ancestors": [{**known[name], "depth": depth} for name, depth in above.items()],
        "descendants": [{**known[name], "depth": depth} for name, depth in below.items()] + training(db, store, manifests, places),
    }


def _load(places: list[Place]) -> duckdb.DuckDBPyConnection:
    """A database with `records` (all base columns but the text, and the number of their place) and `edges`."""
    if not places:
        raise SeedmillError("no artefact of this experiment holds records yet: run `factory run` first")
    db = duckdb.connect()
    db.execute("SET enable_progress_bar = false")
    selects = [f"SELECT {number} AS place, {', '.join(COLUMNS)} FROM read_parquet(?)" for number in range(len(places))]  # noqa: S608 (column names of ours)
    db.execute(f"CREATE TABLE records AS {' UNION ALL '.join(selects)}", [place.files for place in places])
    db.execute("CREATE TABLE edges AS SELECT DISTINCT unnest(parents) AS parent, id AS child FROM records")
    return db


def _resolve(db: duckdb.DuckDBPyConnection, prefix: str, places: int) -> str:
    rows = db.execute("SELECT DISTINCT id FROM records WHERE starts_with(id, ?) ORDER BY id = ? DESC, id LIMIT 4", [prefix, prefix])
    found = [name for (name,) in rows.fetchall()]
    if not found or not prefix:
        raise SeedmillError(
            f"no record has an id that begins with {prefix!r} in the {places} record sets of this experiment: "
            "take one from the column `id` of an output, or name the experiment with --recipe and --seed"
        )
    if len(found) > 1 and found[0] != prefix:
        raise SeedmillError(f"more than one record id begins with {prefix!r}, among them {', '.join(found[:3])}: give more digits")
    return found[0]


def _walk(db: duckdb.DuckDBPyConnection, start: str, near: str, far: str) -> dict[str, int]:
    """Every id that can be reached over the edges from their `near` end to their `far` end, with its distance."""
    depths = {start: 0}
    level = [start]
    while level:
        rows = db.execute(f"SELECT DISTINCT {far} FROM edges WHERE {near} IN (SELECT unnest(?)) ORDER BY 1", [level])  # noqa: S608 (column names of ours)
        depth = depths[level[0]] + 1
        level = [name for (name,) in rows.fetchall() if name not in depths]
        depths |= dict.fromkeys(level, depth)
    del depths[start]
    return depths


def _describe(db: duckdb.DuckDBPyConnection, places: list[Place], ids: list[str]) -> dict[str, dict[str, Any]]:
    """What is known of each id, from the first place that holds it, and the names of all the artefacts that do."""
    columns = ", ".join(f"first({name} ORDER BY place)" for name in (*SHOWN, "len(parents)"))
    query = f"SELECT id, list(DISTINCT place ORDER BY place), {columns} FROM records WHERE id IN (SELECT unnest(?)) GROUP BY id"  # noqa: S608 (column names of ours)
    # every id has an entry: a parent may lie outside of what this experiment holds
    nothing = {**dict.fromkeys(SHOWN), "assets": [], "origin": None}
    known: dict[str, dict[str, Any]] = {name: {"type": "record", "id": name, **nothing} for name in ids}
    for name, numbers, *values, parents in db.execute(query, [ids]).fetchall():
        assets = dict.fromkeys(places[number].manifest.asset for number in numbers)
        origin = None if parents else _origin(places[numbers[0]].manifest)
        known[name] |= {**dict(zip(SHOWN, values, strict=True)), "assets": list(assets), "origin": origin}
    return known


def _origin(manifest: Manifest) -> dict[str, Any]:
    """What a record that has no parents comes from: a source as it was read, or a program and what it drew from."""
    seeds = {"seed": manifest.seed, "seeds": manifest.seeds}
    return {"asset": manifest.asset, "version": manifest.version, **seeds, "source_version": manifest.source_version}


def _text(db: duckdb.DuckDBPyConnection, places: list[Place], record: str) -> str:
    place = _only(db.execute("SELECT min(place) FROM records WHERE id = ?", [record]))
    return _only(db.execute("SELECT first(text) FROM read_parquet(?) WHERE id = ?", [places[place].files, record]))


def _only(rows: duckdb.DuckDBPyConnection) -> Any:
    """The one value of a query that always gives one."""
    row = rows.fetchone()
    assert row is not None
    return row[0]
