"""The artefact store: immutable versions, the manifest written last; a local folder or S3."""

from pathlib import Path

from factory.store.base import Store
from factory.store.config import StoreConfig
from factory.store.local import LocalStore


def open_store(config: StoreConfig, workspace: Path) -> Store:
    """The store that a recipe names; an S3 store keeps its scratch and its cache in the workspace."""
    if config.url.startswith("s3://"):
        from factory.store.s3 import S3Store

        return S3Store.open(config.url, workspace / "s3")
    return LocalStore(Path(config.url) if config.url else workspace / "store")
