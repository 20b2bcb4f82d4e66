"""Where records lie: the record sets of a run of artefacts, as lists of Parquet files."""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow.parquet as pq

from factory.context import Input
from factory.records import BASE_FIELDS
from factory.store.base import Store
from factory.store.manifest import Manifest

TRAINED_ON = ("index", "conversations", "pairs")
"""The outputs that a trainer reads: a shard's index from document to record, chats, preference pairs."""
COLUMNS = tuple(field.name for field in BASE_FIELDS if field.name != "text")


@dataclass(frozen=True)
class Place:
    """A set of records in an artefact; `key` is its column of record ids: `id`, or `record` in a shard's index."""

    manifest: Manifest
    output: str
    files: list[str]
    key: str

    @property
    def feeds_training(self) -> bool:
        """Whether a checkpoint that reads this artefact is trained on these records."""
        return self.output in TRAINED_ON


def find_places(store: Store, manifests: Iterable[Manifest]) -> list[Place]:
    """The record sets that hold records or index them; nothing else of an artefact is fetched for it."""
    found = []
    for manifest in manifests:
        for output in manifest.outputs:
            if output.kind == "records" and output.rows:
                files = parts(store, manifest, output.name)
                names = pq.read_schema(files[0]).names
                if set(COLUMNS) <= set(names):
                    found.append(Place(manifest, output.name, files, "id"))
                elif output.name in TRAINED_ON and "record" in names:
                    found.append(Place(manifest, output.name, files, "record"))
    return found


def parts(store: Store, manifest: Manifest, output: str) -> list[str]:
    """The Parquet files of one record set."""
    folder = Input(manifest.asset, manifest.version, manifest.digest, store.outputs(manifest, only=(output,)))
    return [str(part) for part in folder.parts(output)]
