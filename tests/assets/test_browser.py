"""The web UI as its users see it: a real browser over the real servers and the smoke recipe."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
PHOTOGRAPH = os.environ.get("SEEDMILL_PHOTOGRAPH")
"""An experiment that this workspace has finished, `laptop` say: its pages are photographed into docs/images."""
EXPERIMENT = PHOTOGRAPH or "smoke"
IMAGES = Path(__file__).parents[2] / "docs" / "images"
PATIENCE = 120_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM and os.environ.get("CI") != "true", reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def ui(tmp_path_factory):
    """The address of `make ui` over the smoke recipe; Ctrl-C ends it with everything that it started."""
    folder = tmp_path_factory.mktemp("ui")
    locations = folder / "workspace.yaml"
    module = {"module_name": "assets.definitions", "attribute": EXPERIMENT, "location_name": EXPERIMENT}
    locations.write_text(json.dumps({"load_from": [{"python_module": module}]}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "assets.ui", "--port", str(port), "--locations", str(locations)],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ) if PHOTOGRAPH else {**os.environ, "SEEDMILL_HOME": str(folder / "home")},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(f"Dagster at http://127.0.0.1:{port}"), line
    yield line.split()[2]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(PATIENCE)
    yield page
    page.close()


@pytest.mark.skipif(PHOTOGRAPH is not None, reason="photographing a finished run")
def test_a_click_on_materialize_makes_the_asset_and_its_checks_pass(ui, page):
    page.goto(f"{ui}/assets/smoke/benchmarks", wait_until="domcontentloaded")
    page.get_by_text("Never materialized").wait_for()
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text(re.compile(r"Launched run")).wait_for()
    page.get_by_role("button", name="View", exact=True).or_(page.get_by_role("link", name="View", exact=True)).first.click()
    page.get_by_text("RUN_SUCCESS").wait_for()
    page.goto(f"{ui}/assets/smoke/benchmarks", wait_until="domcontentloaded")
    page.get_by_text("Row count").wait_for()
    page.get_by_text("40", exact=True).first.wait_for()
    page.goto(f"{ui}/assets/smoke/benchmarks?view=checks", wait_until="domcontentloaded")
    for name in ("records_accounted", "not_empty", "outputs_intact"):
        page.get_by_text(name).first.wait_for()
    assert page.get_by_text("Failed").count() == 0


@pytest.mark.skipif(PHOTOGRAPH is not None, reason="photographing a finished run")
def test_the_graph_shows_the_groups_and_no_dialog_covers_it(ui, page):
    page.goto(f"{ui}/asset-groups", wait_until="domcontentloaded")
    for group in ("curation", "synthesis", "tokens", "training", "preference", "evaluation", "release"):
        page.get_by_text(group, exact=True).first.wait_for()
    assert page.get_by_role("dialog").count() == 0


def last_run(ui: str) -> str:
    """The id of the newest run that succeeded."""
    query = "{runsOrError(limit: 1, filter: {statuses: [SUCCESS]}) {... on Runs {results {runId}}}}"
    request = urllib.request.Request(f"{ui}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["data"]["runsOrError"]["results"][0]["runId"]


@pytest.mark.skipif(PHOTOGRAPH is None, reason="SEEDMILL_PHOTOGRAPH names no experiment to photograph")
@pytest.mark.parametrize(
    ("name", "path", "seen", "click"),
    [
        ("graph", "/asset-groups", "curation", None),
        ("training", "/locations/EXPERIMENT/asset-groups/training/lineage", "sft_checkpoint", None),
        ("checkpoint", "/assets/EXPERIMENT/pretrained_checkpoint", "Row count", None),
        ("loss", "/assets/EXPERIMENT/pretrained_checkpoint", "Row count", "[Show Markdown]"),
        ("gate", "/assets/EXPERIMENT/promotion_gate?view=checks&checkDetail=promotion_gate", "Latest execution", None),
        ("runs", "/runs", "Success", None),
        ("run", "/runs/RUN", "RUN_SUCCESS", None),
    ],
)
def test_pages_are_photographed_for_the_documentation(ui, page, name, path, seen, click):
    where = path.replace("EXPERIMENT", EXPERIMENT)
    page.goto(ui + (where.replace("RUN", last_run(ui)) if "RUN" in where else where), wait_until="domcontentloaded")
    page.get_by_text(seen).first.wait_for()
    if click:
        page.get_by_text(click).first.click()
    page.wait_for_timeout(4000)
    IMAGES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=IMAGES / f"{name}.png")
