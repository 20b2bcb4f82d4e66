"""Which training sets hold given records, and which checkpoints saw them: how often, and between which steps.

A checkpoint's `exposure` names what its steps read by index in the stored order of a training set, which a shard's `index`, or
the order of chats and pairs, turns back into records.
"""

from typing import Any

import duckdb
import pyarrow.parquet as pq

from factory.lineage.places import Place, parts
from factory.store.base import Store
from factory.store.manifest import Manifest

TRAINED = "CREATE OR REPLACE TABLE trained (asset VARCHAR, item BIGINT, tokens BIGINT)"
SEEN = """
    SELECT count(*), min(first_step), max(last_step)
    FROM (SELECT asset, first_step, last_step, unnest(items) AS item FROM read_parquet(?)) AS exposure JOIN trained USING (asset, item)
"""


def training(db: duckdb.DuckDBPyConnection, store: Store, manifests: list[Manifest], places: list[Place]) -> list[dict[str, Any]]:
    """The training sets that hold a record of the table `held` (column `id`), then the checkpoints trained on them or made from those.

    A checkpoint's `seen` counts how often its steps read one of the records, None where it only inherits the weights of one that did.
    """
    db.execute(TRAINED)
    trained = [manifest for manifest in manifests if any(output.kind == "checkpoint" for output in manifest.outputs)]
    read = {(upstream.asset, upstream.version) for manifest in trained for upstream in manifest.inputs}
    fed = [place for place in places if place.feeds_training and (place.manifest.asset, place.manifest.version) in read]
    sets = [found for place in fed if (found := _training_set(db, place))]
    reached = {(found["asset"], found["version"]) for found in sets}
    checkpoints = []
    for manifest in trained:
        through = sorted({u.asset for u in manifest.inputs if (u.asset, u.version) in reached})
        if through:
            reached.add((manifest.asset, manifest.version))
            checkpoints.append(_checkpoint(db, store, manifest, through, {found["asset"] for found in sets}))
    return [*sets, *checkpoints]


def _training_set(db: duckdb.DuckDBPyConnection, place: Place) -> dict[str, Any] | None:
    first = 0
    for part in place.files:
        item, tokens = ("document", "tokens") if place.key == "record" else (f"{first} + file_row_number", "NULL")
        rows = f"read_parquet(?, file_row_number = true) WHERE {place.key} IN (SELECT id FROM held)"  # noqa: S608 (column names of ours)
        db.execute(f"INSERT INTO trained SELECT ?, {item}, {tokens} FROM {rows}", [place.manifest.asset, part])  # noqa: S608 (column names of ours)
        first += pq.read_metadata(part).num_rows
    row = db.execute("SELECT count(*), sum(tokens) FROM trained WHERE asset = ?", [place.manifest.asset]).fetchone()
    assert row is not None
    if not row[0]:
        return None
    tokens = None if row[1] is None else int(row[1])
    where = {"asset": place.manifest.asset, "version": place.manifest.version, "output": place.output}
    return {"type": "training set", **where, "items": row[0], "tokens": tokens}


def _checkpoint(db: duckdb.DuckDBPyConnection, store: Store, manifest: Manifest, through: list[str], sets: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "checkpoint", "asset": manifest.asset, "version": manifest.version, "through": through}
    seen = first = last = None
    if sets & set(through) and any(output.name == "exposure" for output in manifest.outputs):
        row = db.execute(SEEN, [parts(store, manifest, "exposure")]).fetchone()
        assert row is not None
        seen, first, last = row
    return {**found, "seen": seen, "first_step": first, "last_step": last}
