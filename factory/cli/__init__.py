"""The command line: `factory run`, `status`, `report`, `audit`, `diff`, `trace`, `chat`, `doctor`."""

from factory.cli.app import main

__all__ = ["main"]
