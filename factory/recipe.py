"""The recipe: one YAML file that describes a whole experiment, typed and checked before anything runs.

Each room of the factory brings its own sections; this module puts them together, reads the file, and turns what pydantic
finds wrong into one line that names the field, the value and the remedy.
"""

import os
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from factory.cluster.config import ClusterConfig, LocalConfig
from factory.curation.config import SourceConfig
from factory.errors import SeedmillError
from factory.plan.config import PlanConfig
from factory.release.config import ReleaseConfig
from factory.sections import CurationSection, EvaluationSection, MixtureSection, PreferenceSection, TrainingSection
from factory.settings import Name, Section, told_apart
from factory.store.config import StoreConfig
from factory.synthesis.config import SynthesisConfig, TeacherConfig
from factory.synthesis.own_data import ChatSource, QuestionSource
from factory.tokens.config import BlendConfig, Cluster, TokenizerConfig
from factory.tokens.config import LongContextConfig as LongContextBlendConfig
from factory.training.config import TrainingConfig

IMPORTED = "imported_checkpoint"


class Recipe(Section):
    """An experiment. Its name, its plan and the places where things lie and run never enter an artefact's identity."""

    experiment: Name = Field(description="the experiment's name: the first part of every asset key")
    seed: int = Field(default=0, ge=0, description="the seed of everything that is drawn; `--seed` runs another")
    store: StoreConfig = StoreConfig()
    cluster: ClusterConfig = LocalConfig()
    sources: dict[Name, SourceConfig] = Field(min_length=1, description="the raw material, by name")
    questions: dict[Name, QuestionSource] = Field(default={}, description="questions of one's own, by name")
    chats: dict[Name, ChatSource] = Field(default={}, description="fine-tuning conversations of one's own, by name")
    curation: CurationSection = CurationSection()
    synthesis: SynthesisConfig = SynthesisConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    mixture: MixtureSection = MixtureSection()
    training: TrainingSection = TrainingSection()
    preference: PreferenceSection = PreferenceSection()
    evaluation: EvaluationSection = EvaluationSection()
    release: ReleaseConfig = ReleaseConfig()
    plan: PlanConfig = PlanConfig()

    @model_validator(mode="after")
    def _layouts_hold_the_model(self) -> Self:
        for name, stage in self.training.stages.items():
            try:
                stage.layout.check_model(self.training.pretrain.model)
            except SeedmillError as error:
                raise ValueError(f"training.{name}: {error}") from error
        return self

    @model_validator(mode="after")
    def _models_can_be_paid(self) -> Self:
        """Judges, checkers and teachers that answer are reached as the teacher of synthesis is, under its budget."""
        preference = self.preference
        checked = {
            "synthesis.sft_conversations": self.synthesis.sft_conversations,
            "preference.pivotal": preference.pivotal,
            "preference.rejection": preference.rejection,
            "evaluation": self.evaluation,
        }
        asked = [("preference.judge", model) for model in preference.judge.models]
        for name, model in [*asked, *((name, section.checker) for name, section in checked.items() if section.checker)]:
            try:
                TeacherConfig.model_validate({**model.model_dump(), **self.synthesis.teacher.runtime()})
            except ValidationError as error:
                raise ValueError(f"{name} asks {model.model} at synthesis.teacher: {error.errors()[0]['msg']}") from error
        return self

    @model_validator(mode="after")
    def _questions_can_be_answered(self) -> Self:
        """A program has no answers to questions that come without any."""
        for name, source in self.questions.items():
            if not (source.answer_field or source.tests_field) and self.synthesis.question_bank.teacher.kind == "procedural":
                raise ValueError(f"questions.{name} has neither answers nor tests, which a language model must give: set synthesis.teacher")
        return self

    @model_validator(mode="after")
    def _the_start_is_imported(self) -> Self:
        start, imported = self.training.pretrain.start_from, self.training.imported
        if (start == IMPORTED) != (imported is not None) or start not in {None, IMPORTED}:
            raise ValueError(
                f"training.pretrain.start_from is {start!r} and training.imported is {'set' if imported else 'absent'}: "
                f"to go on from a Hugging Face checkpoint, set training.imported and start_from: {IMPORTED}"
            )
        return self

    @model_validator(mode="after")
    def _names_aretold_apart(self) -> Self:
        told_apart("sources", self.sources)
        told_apart("questions", self.questions)
        told_apart("chats", self.chats)
        return self

    @model_validator(mode="after")
    def _shares_have_sources(self) -> Self:
        """A cluster of organic text without a source would be an empty shard, found out much later."""
        for cluster in ("web", "acquired"):
            if self.mixture.shares.get(cluster, 0) > 0 and cluster not in self.source_clusters.values():
                raise ValueError(f"mixture.shares.{cluster} is {self.mixture.shares[cluster]}, but no source has cluster {cluster!r}")
        return self

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.experiment

    @property
    def workspace(self) -> Path:
        """The folder of store, caches, job registry and orchestrator instance: SEEDMILL_HOME, or `.seedmill` here."""
        return Path(os.environ.get("SEEDMILL_HOME", ".seedmill")).resolve()

    @property
    def source_clusters(self) -> dict[str, Cluster]:
        """The cluster that each source's documents belong to."""
        return {name: source.cluster for name, source in self.sources.items()}

    @property
    def pretraining_blend(self) -> BlendConfig:
        """The mixture at the size that pretraining consumes."""
        stage = self.training.pretrain
        return BlendConfig(shares=self.mixture.shares, total_tokens=consumed(stage, stage.steps), sequence_length=stage.sequence_length)

    @property
    def long_context_blend(self) -> LongContextBlendConfig:
        """The midtraining mixture at the size that midtraining consumes."""
        stage, mixture = self.training.midtrain, self.mixture
        return LongContextBlendConfig(
            long_share=mixture.long_share,
            recall=mixture.shares,
            sources=self.source_clusters,
            upweight=mixture.upweight,
            total_tokens=consumed(stage, stage.steps),
            sequence_length=stage.sequence_length,
            long=mixture.long,
        )


def consumed(stage: TrainingConfig, steps: int) -> int:
    """Tokens that so many steps of a stage process."""
    return steps * stage.global_batch * stage.sequence_length


def load(path: Path, seed: int | None = None) -> Recipe:
    """Read and check a recipe. Another seed than the file's makes another experiment, named NAME-seedN.

    Raises SeedmillError naming the field, the value and what is wrong with it.
    """
    from factory.graph import build  # the graph is made from a recipe, so it is known only after this module

    data = _read(path)
    if seed is not None and seed != data.get("seed", 0):
        data |= {"seed": seed, "experiment": f"{data.get('experiment')}-seed{seed}"}
    try:
        recipe = Recipe.model_validate(data)
        build(recipe)  # whatever the recipe names as a stage's input must be an asset
    except ValidationError as error:
        raise SeedmillError(f"{path}: {'; '.join(_explain(e) for e in error.errors())}") from error
    except SeedmillError as error:
        raise SeedmillError(f"{path}: {error}") from error
    return recipe


class _Loader(yaml.SafeLoader):
    """YAML in which a mapping has each key once: PyYAML alone takes the last of several, and says nothing."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                problem = f"key {key.value!r} stands twice in one mapping; keep one"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a safe loader of our own)
    except UnicodeDecodeError as error:
        raise SeedmillError(f"recipe {path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise SeedmillError(f"recipe {path} cannot be read: {error.strerror}; recipes of this project lie in recipes/") from error
    except yaml.YAMLError as error:
        raise SeedmillError(f"recipe {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise SeedmillError(f"recipe {path} holds {type(data).__name__}, not a mapping of sections")
    return data


def _explain(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"]) or "recipe"
    if error["type"] == "extra_forbidden":
        return f"unknown key {field} (value {error['input']!r}): remove it or mend its spelling"
    message = error["msg"].removeprefix("Value error, ")
    if error["loc"][-1:] == ("[key]",):
        return f"{'.'.join(error['loc'][:-2])} (name {error['input']!r}): {message}"
    value = "" if isinstance(error["input"], dict) else f" (value {error['input']!r})"
    return f"{field}{value}: {message}"
