"""The sections of a recipe that gather those of one room."""

from pydantic import Field

from factory.curation.config import DecontaminationConfig, DedupConfig, ExtractConfig, FilterConfig, SeedConfig
from factory.evaluation.config import GateConfig, LongContextConfig, SafetyConfig
from factory.preference.config import JudgeConfig, PivotalSearchConfig, RefusalConfig, RejectionConfig, TriviaSource
from factory.sampling.config import LocalEngine, SamplingConfig
from factory.settings import Section
from factory.synthesis.config import CheckedSection
from factory.tokens.config import PHI4_SHARES, LongDocuments, Shares
from factory.training.config import DpoConfig, ImportConfig, MidtrainConfig, PretrainConfig, SftConfig, TrainingConfig


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
