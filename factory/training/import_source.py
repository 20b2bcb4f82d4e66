"""The folder of a Hugging Face checkpoint as a source: what lies there now. Apart from its reading, which needs torch."""

from pathlib import Path

from factory.digest import file_digest, json_digest
from factory.errors import SeedmillError
from factory.training.config import ImportConfig


def observe(section: ImportConfig) -> str:
    """The version of the folder as it lies there now: its files' names and contents."""
    return json_digest({path.name: file_digest(path) for path in checkpoint_files(Path(section.folder))})


def checkpoint_files(folder: Path) -> list[Path]:
    """`config.json` and the weights of a Hugging Face checkpoint."""
    if not (folder / "config.json").exists() or not list(folder.glob("*.safetensors")):
        raise SeedmillError(f"{folder} holds no config.json with *.safetensors: name the folder of a Hugging Face checkpoint")
    return [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
