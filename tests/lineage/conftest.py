import pytest
from world import World, small_world

from factory.store.local import LocalStore


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> World:
    """The small world; tests read it only."""
    return small_world(LocalStore(tmp_path_factory.mktemp("world") / "store"))


@pytest.fixture
def world(tmp_path) -> World:
    """A small world of a test's own."""
    return small_world(LocalStore(tmp_path / "store"))
