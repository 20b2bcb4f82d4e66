"""The recipe: one YAML file that describes a whole experiment, typed and checked before anything runs.

Each room of the factory brings its own sections; this module puts them together, reads the file, and turns what pydantic
finds wrong into one line that names the field, the value and the remedy.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, Field, ValidationError, model_validator

from factory.cluster.config import ClusterConfig, LocalConfig
from factory.curation.config import DecontaminationConfig, DedupConfig, ExtractConfig, FilterConfig, SeedConfig, SourceConfig
from factory.errors import SeedmillError
from factory.evaluation.config import GateConfig, LongContextConfig, SafetyConfig
from factory.plan.config import PlanConfig
from factory.preference.config import JudgeConfig, PivotalSearchConfig, RefusalConfig, RejectionConfig, TriviaSource
from factory.release.config import ReleaseConfig
from factory.sampling.config import LocalEngine, SamplingConfig
from factory.settings import Section
from factory.store.config import StoreConfig
from factory.synthesis.config import CheckedSection, SynthesisConfig, TeacherConfig
from factory.synthesis.own_data import ChatSource, QuestionSource
from factory.tokens.config import PHI4_SHARES, BlendConfig, Cluster, LongDocuments, Shares, TokenizerConfig
from factory.tokens.config import LongContextConfig as LongContextBlendConfig
from factory.training.config import DpoConfig, ImportConfig, MidtrainConfig, PretrainConfig, SftConfig, TrainingConfig

IMPORTED = "imported_checkpoint"


def _part_of_a_key(name: str) -> str:
    """A name that can be a part of an asset's key, of a folder's and of an object's."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", name):
        raise ValueError("a name begins with a letter from a to z; up to 40 such letters, digits, hyphens and underscores follow")
    return name


Name = Annotated[str, AfterValidator(_part_of_a_key)]


def _told_apart(what: str, names: Iterable[str]) -> None:
    """Raise where two names would be one to the orchestrator, which writes an underscore for a hyphen."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.replace("-", "_"), name)) != name:
            raise ValueError(f"{what} {other!r} and {name!r} differ in hyphens and underscores alone: rename one")


class CurationSection(Section):
    """From raw documents to clean ones and seeds."""

    extract: ExtractConfig = ExtractConfig()
    filter: FilterConfig = FilterConfig()
    dedup: DedupConfig = DedupConfig()
    decontamination: DecontaminationConfig = DecontaminationConfig()
    seeds: SeedConfig = SeedConfig()


class MixtureSection(Section):
    """What the two mixtures are made of. Their sizes follow from the training stages that read them."""

    shares: Shares = Field(default=PHI4_SHARES, description="share of pretraining tokens of each cluster (Table 5); they sum to 1")
    synthetic_code_share: float = Field(default=0.5, ge=0, le=1, description="share of synthetic programs in the code cluster's bytes")
    long_share: float = Field(default=0.3, ge=0, le=1, description="share of new long data in midtraining; the rest recalls pretraining")
    upweight: int = Field(default=2, ge=1, description="how often the longest documents are seen for once of the others")
    long: LongDocuments = LongDocuments()


class TrainingSection(Section):
    """The five training stages, one trainer."""

    imported: ImportConfig | None = Field(default=None, description="a Hugging Face checkpoint that `pretrain.start_from` may name")
    pretrain: PretrainConfig = PretrainConfig()
    midtrain: MidtrainConfig = MidtrainConfig()
    sft: SftConfig = SftConfig()
    pivotal_dpo: DpoConfig = DpoConfig()
    judged_dpo: DpoConfig = DpoConfig(start_from="pivotal_dpo_checkpoint", pairs="judged_pairs", beta=0.1)

    @property
    def stages(self) -> dict[str, TrainingConfig]:
        """The five stages by name, in the order that they run."""
        return {name: getattr(self, name) for name in ("pretrain", "midtrain", "sft", "pivotal_dpo", "judged_dpo")}


class PreferenceSection(Section):
    """What makes preference pairs and refusals; `rejection` is the control arm of the ablation."""

    trivia: TriviaSource | None = Field(default=None, description="trivia of one's own for the refusals, which then need a language model")
    refusals: RefusalConfig = RefusalConfig()
    pivotal: PivotalSearchConfig = PivotalSearchConfig()
    judge: JudgeConfig = JudgeConfig()
    rejection: RejectionConfig = RejectionConfig()


class EvaluationSection(CheckedSection):
    """How every checkpoint is examined, and what a model must reach to be promoted."""

    problems: int | None = Field(default=None, ge=1, description="take only the first so many benchmark problems; all of them when absent")
    temperature: float = Field(default=1.0, gt=0, le=2, description="the temperature of the sampled run")
    top_p: float = Field(default=1.0, gt=0, le=1, description="the sampled run draws from the likeliest tokens of so much chance together")
    max_new_tokens: int = Field(default=96, ge=1, description="a completion is cut after so many tokens")
    sampling: SamplingConfig = LocalEngine()
    long_context: LongContextConfig = LongContextConfig()
    safety: SafetyConfig = SafetyConfig()
    gate: GateConfig = GateConfig()


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
    def _names_are_told_apart(self) -> Self:
        _told_apart("sources", self.sources)
        _told_apart("questions", self.questions)
        _told_apart("chats", self.chats)
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
