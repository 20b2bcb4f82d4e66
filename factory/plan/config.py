"""The recipe's section for planning. It says what to expect, never what to do, so it enters no artefact's identity."""

from typing import Literal

from pydantic import Field

from factory.settings import Section
from factory.tokens.config import Cluster

GpuName = Literal["a100", "h100", "h200", "b200"]


class PublishedRun(Section):
    """A run that somebody published: the plan prints the utilisation that its figures imply for this recipe's model."""

    source: str = Field(min_length=1, description="where the figures are printed")
    gpu: GpuName = Field(description="the GPUs that were used")
    gpus: int = Field(ge=1, description="how many of them")
    days: float = Field(gt=0, description="how long they ran")
    tokens: float = Field(gt=0, description="how many tokens they trained on")


class PlanConfig(Section):
    """What a plan cannot know from the stages' own sections: the machine, and how much the data stages will yield."""

    gpu: GpuName = Field(default="h100", description="the GPU that is planned for; `--gpu` plans for another")
    gpus_per_node: int = Field(default=8, ge=1, description="GPUs with a fast link among them: no tensor group may be larger")
    assumed_mfu: float = Field(default=0.4, gt=0, lt=1, description="model FLOPs over the GPU's dense bf16 peak, where no run measured it")
    reserved_gib: float = Field(
        default=5.0, ge=0, description="GiB a GPU for the CUDA context, NCCL and cuBLAS workspaces and fragmentation"
    )
    unique_tokens: dict[Cluster, float] = Field(
        default={}, description="tokens in each cluster's shard; the cluster's share of training, seen once, where not given"
    )
    tokens_per_conversation: int = Field(default=120, ge=1, description="mean length of a chat, for stages that count epochs")
    imported_chats: int = Field(default=0, ge=0, description="chats of all sets in `chats`, for stages that count epochs")
    pairs: dict[str, int] = Field(
        default={"pivotal_pairs": 1000, "judged_pairs": 150},
        description="preference pairs that each asset will hold, for stages that count epochs",
    )
    tokens_per_pair: dict[str, int] = Field(
        default={"pivotal_pairs": 160, "judged_pairs": 240}, description="mean tokens of both sequences of a pair, prompts included"
    )
    organic_questions: int = Field(
        default=0, ge=0, description="questions among the sources, each of which the teacher answers for the bank and for conversations"
    )
    teacher_input_tokens: int = Field(default=400, ge=1, description="mean prompt of a teacher request")
    teacher_fill: float = Field(default=0.5, gt=0, le=1, description="mean answer of the teacher as a share of the longest it may give")
    published: PublishedRun | None = Field(default=None, description="a published run of this model to compare with")
