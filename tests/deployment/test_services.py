"""The three services as the images start them, over a real Postgres: each answers its health probe, and a run goes through all."""

import pytest
from services import serving


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_services_are_healthy_and_a_run_goes_through_all_of_them(tmp_path):
    with serving(tmp_path) as services:
        assert services.outcome(services.launch("raw_documents/docstrings")) == "SUCCESS"
        assert list((tmp_path / "work" / "store").rglob("manifest.json"))
