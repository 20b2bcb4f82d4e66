"""The artefact store: immutable versions, the manifest written last; a local folder or S3."""

from pathlib import Path

from factory.errors import SeedmillError
from factory.store.base import Store
from factory.store.config import StoreConfig
from factory.store.local import LocalStore


def open_store(config: StoreConfig, workspace: Path) -> Store:
    """The store that a recipe names; an S3 store keeps its scratch and its cache in the workspace.

    Raises SeedmillError where store.url cannot be a folder, because it or one above it is a file.
    """
    if config.url.startswith("s3://"):
        from factory.store.s3 import S3Store

        return S3Store.open(config.url, workspace / "s3")
    root = Path(config.url) if config.url else workspace / "store"
    there = next(path for path in (root, *root.absolute().parents) if path.exists())
    if config.url and not there.is_dir():
        raise SeedmillError(f"store.url {config.url!r} cannot be a folder: {there} is a file; name a folder, or s3://BUCKET/PREFIX")
    return LocalStore(root)
