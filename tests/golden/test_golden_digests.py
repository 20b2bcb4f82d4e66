"""A stage whose output changes must raise its code version, or stores keep what the old code made.

The digests of the smoke run's stages without floating-point training are kept in `digests.json`. They hold for one Python
release, since the organic sources are that release's own library. `SEEDMILL_GOLDEN=write pytest tests/golden` writes them anew.
"""

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).with_name("digests.json")
GROUPS = ("raw_documents/", "extracted_", "filtered_", "unique_", "clean_", "seed_", "question_", "benchmarks", "web_rewrites")
GROUPS += ("synthetic_", "tokenizer", "token_shards/", "pretraining_blend", "long_context_blend")


def made(home: Path) -> dict[str, dict[str, Any]]:
    """Code version and digest of every asset of interest in a workspace's store."""
    manifests = [json.loads(p.read_bytes()) for p in (home / "store" / "artifacts").glob("**/manifest.json") if "attempts" not in p.parts]
    return {
        m["asset"]: {"code_version": m["code_version"], "digest": m["digest"]}
        for m in sorted(manifests, key=lambda m: m["asset"])
        if m["asset"].startswith(GROUPS)
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_stage_changes_its_output_without_raising_its_code_version(smoke_home: Path) -> None:
    found = made(smoke_home)
    if os.environ.get("SEEDMILL_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps({"python": platform.python_version(), "assets": found}, indent=1) + "\n")
    golden = json.loads(GOLDEN.read_bytes())
    if golden["python"] != platform.python_version():
        pytest.skip(f"the digests are those of Python {golden['python']}, this is {platform.python_version()}")
    assert set(found) == set(golden["assets"])
    changed = {name for name, was in golden["assets"].items() if found[name]["digest"] != was["digest"]}
    silent = {name for name in changed if found[name]["code_version"] == golden["assets"][name]["code_version"]}
    first = [name for name in found if name in silent]
    assert not silent, (
        f"other digests under the same code version: {first}; raise code_version in factory/graph, then write the golden file"
    )
    assert not changed, f"digests of {sorted(changed)} changed with their code versions: write the golden file anew"
