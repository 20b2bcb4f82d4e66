from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from factory.digest import file_digest, json_digest
from factory.spec import Cost, Counts, Output
from factory.store.base import Attempt, Store
from factory.store.manifest import Manifest, content_digest

Write = Callable[[Attempt, dict[str, str]], Manifest]


@pytest.fixture
def write() -> Write:
    """Write files into an attempt as a stage would, and give the manifest that would be committed."""
    return write_outputs


@pytest.fixture
def make():
    """Commit a version made of these files."""

    def make(store: Store, asset: str = "things", version: str = "v1", **files: str) -> Manifest:
        attempt = store.begin(asset, version)
        return store.commit(attempt, write_outputs(attempt, files or {"a.txt": "apple"}))

    return make


def write_outputs(attempt: Attempt, files: dict[str, str]) -> Manifest:
    outputs: dict[str, dict[str, str]] = {}
    sizes: dict[str, int] = {}
    for name, text in files.items():
        path = attempt.folder / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        top = name.split("/")[0]
        outputs.setdefault(top, {})[name] = file_digest(path)
        sizes[top] = sizes.get(top, 0) + path.stat().st_size
    listed = [Output(name=n, kind="file", files=f, bytes=sizes[n], digest=json_digest(f)) for n, f in outputs.items()]
    return Manifest(
        asset=attempt.asset,
        version=attempt.version,
        digest=content_digest(listed),
        code_version=1,
        section={},
        seed=0,
        source_version=None,
        inputs=[],
        outputs=listed,
        counts=Counts(),
        metrics={},
        cost=Cost(),
        seeds={},
        attempt=attempt.number,
        started="2025-01-01T00:00:00+00:00",
        ended=datetime.now(UTC).isoformat(),
        seconds=1.0,
        cpu_seconds=1.0,
        peak_rss_bytes=1,
        where={},
        commit="unknown",
        packages={},
    )
