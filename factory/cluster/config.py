"""Where jobs run. None of it enters an artefact's identity: world size and threads belong to the stages' own sections."""

from typing import Literal

from pydantic import Field

from factory.settings import Section


class ClusterConfig(Section):
    """The launcher of a recipe's jobs."""

    launcher: Literal["local"] = Field(default="local", description="`local`: processes of this machine")
