"""The manifest: what an artefact is, what it was made from, by which code, at what cost. Written last, never changed.

Our own manifests are the truth for lineage. An orchestrator's event log says which upstream was newest when a step began,
not which one was read.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from factory.digest import canonical_json, json_digest
from factory.errors import SeedmillError
from factory.spec import Cost, Counts, Output

VERSION_DIGITS = 16


class Upstream(BaseModel):
    """An exact version that was read."""

    model_config = ConfigDict(frozen=True)
    asset: str
    version: str
    digest: str


class Manifest(BaseModel):
    """One immutable version of an asset.

    `digest` covers the content alone; times, cost, host and file layout lie outside of it. `code_version` is bumped by hand
    when a stage's output changes; `commit` and `packages` say what really ran.
    """

    model_config = ConfigDict(frozen=True)
    asset: str
    version: str
    digest: str
    code_version: int
    section: dict[str, Any]
    seed: int | None
    source_version: str | None
    inputs: list[Upstream]
    outputs: list[Output]
    counts: Counts
    metrics: dict[str, Any]
    cost: Cost
    seeds: dict[str, int]
    attempt: int
    started: str
    ended: str
    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    where: dict[str, str]
    commit: str
    packages: dict[str, str]

    @property
    def rows(self) -> int:
        """Records in all record sets together (a shard's rows are those of its index)."""
        return sum(output.rows or 0 for output in self.outputs if output.kind == "records")

    @property
    def tokens(self) -> int:
        """Tokens in all outputs together, 0 where the outputs hold none."""
        return sum(output.tokens or 0 for output in self.outputs)

    @property
    def bytes(self) -> int:
        """Size of all output files."""
        return sum(output.bytes for output in self.outputs)

    def output(self, name: str) -> Output:
        """The output called `name`."""
        for output in self.outputs:
            if output.name == name:
                return output
        raise SeedmillError(f"{self.asset} {self.version} has no output {name!r}; it has {[o.name for o in self.outputs]}")


def identity(
    asset: str,
    *,
    code_version: int,
    section: dict[str, Any],
    seed: int | None,
    source_version: str | None,
    inputs: dict[str, str],
) -> str:
    """The version of what would be made: 16 hex digits over asset, code version, section, seed and input digests.

    Paths, buckets, hosts, times and the experiment's name stay out, so experiments share artefacts, and an upstream that was
    rebuilt to the same content changes nothing below it.
    """
    value = {"asset": asset, "code": code_version, "section": section, "seed": seed, "source": source_version, "inputs": inputs}
    return hashlib.sha256(canonical_json(value)).hexdigest()[:VERSION_DIGITS]


def content_digest(outputs: Iterable[Output]) -> str:
    """The digest of an artefact: over its outputs' names, kinds and digests."""
    return json_digest(sorted([output.name, output.kind, output.digest] for output in outputs))
