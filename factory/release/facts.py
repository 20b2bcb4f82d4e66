"""What the model card knows: the manifests of everything that the model was made from, and the gate's verdict."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from factory.context import Context
from factory.errors import SeedmillError
from factory.release.config import CardConfig
from factory.store.manifest import Manifest

TRAINING = ("pretrained_checkpoint", "midtrained_checkpoint", "sft_checkpoint", "pivotal_dpo_checkpoint", "judged_dpo_checkpoint")
"""The training stages in order."""


@dataclass(frozen=True)
class Facts:
    """The sources of the card; `manifests` come upstream first."""

    config: CardConfig
    manifests: tuple[Manifest, ...]
    model: dict[str, Any]
    parity: dict[str, Any]
    gate: dict[str, Any]

    @classmethod
    def of(cls, context: Context) -> Self:
        """Read them from a stage's inputs and from the manifests that the orchestrator hands over."""
        released = context.inputs["hugging_face_model"]
        manifests = tuple(Manifest.model_validate(value) for value in context.runtime.get("manifests", ()))
        if not manifests:
            raise SeedmillError("the model card is written from manifests, but this job got none; run it through the orchestrator")
        return cls(
            config=context.section(CardConfig),
            manifests=manifests,
            model=released.json("model/config.json"),
            parity=released.json("parity.json"),
            gate=context.inputs["promotion_gate"].json("gate.json"),
        )

    def find(self, asset: str) -> Manifest:
        """The manifest of `asset`; raises when the model was not made from it."""
        for manifest in self.manifests:
            if manifest.asset == asset:
                return manifest
        raise SeedmillError(f"the model card needs the manifest of {asset}, which is not among {sorted(m.asset for m in self.manifests)}")

    def under(self, prefix: str) -> list[Manifest]:
        """The manifests of all assets `PREFIX/...`, by name."""
        return sorted((m for m in self.manifests if m.asset.startswith(f"{prefix}/")), key=lambda m: m.asset)

    def training(self) -> list[Manifest]:
        """The manifests of the training stages that there were, in order."""
        present = {manifest.asset: manifest for manifest in self.manifests}
        return [present[name] for name in TRAINING if name in present]


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table; a bar within a cell would end it, so it is escaped."""
    names = list(header)
    lines = [names, ["---"] * len(names), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: float) -> str:
    """A share as a percentage with one digit."""
    return f"{100 * share:.1f}%"
