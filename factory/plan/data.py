"""What data and teacher will take: tokens in shards, bytes in the store, requests and money."""

from dataclasses import dataclass

from factory.recipe import Recipe
from factory.synthesis.config import TaughtSection
from factory.tokens.config import Cluster
from factory.tokens.indexed import SMALL_VOCAB

PASSAGE_REQUESTS, REVISED_REQUESTS = 4, 5
"""Requests for each passage: question, discussion, exercise and its critique; one more where the critic asks for a revision."""
REVERSAL_REQUESTS = 2
"""An instruction for a program, and the program again from the instruction."""


@dataclass(frozen=True)
class ClusterPlan:
    """One cluster of the mixture: tokens trained on, tokens in its shard, epochs over them, bytes of the shard."""

    cluster: Cluster
    share: float
    trained: float
    unique: float
    bytes: float

    @property
    def epochs(self) -> float:
        """How often each token is seen."""
        return self.trained / self.unique


@dataclass(frozen=True)
class TeacherPlan:
    """One stage that asks the teacher: requests (at most), tokens expected and at most, money expected; None without a price."""

    stage: str
    model: str
    requests: int
    input_tokens: float
    output_tokens: float
    most_output_tokens: float
    money: float | None


def token_bytes(vocab_size: int) -> int:
    """Bytes of one id in a shard."""
    return 2 if vocab_size < SMALL_VOCAB else 4


def clusters(recipe: Recipe, vocab_size: int) -> list[ClusterPlan]:
    """The pretraining mixture; a cluster whose size the recipe does not expect is taken to be seen once."""
    blend = recipe.pretraining_blend
    plans = []
    for cluster, share in blend.shares.items():
        trained = share * blend.total_tokens
        unique = recipe.plan.unique_tokens.get(cluster, trained)
        if share > 0:
            plans.append(ClusterPlan(cluster, share, trained, unique, unique * token_bytes(vocab_size)))
    return plans


def teacher(recipe: Recipe) -> list[TeacherPlan]:
    """The stages that ask an endpoint; a program of ours costs nothing and is left out."""
    synthesis = recipe.synthesis
    rewrites, documents = synthesis.web_rewrites, synthesis.synthetic_documents
    requests = rewrites.passages * REVISED_REQUESTS + rewrites.questions
    reversals = documents.program_reversals * REVERSAL_REQUESTS
    asked = [
        _teacher(recipe, "web_rewrites", rewrites, requests, rewrites.max_answer_tokens),
        _teacher(recipe, "synthetic_documents", documents, reversals, documents.max_answer_tokens),
    ]
    return [plan for plan in asked if plan is not None]


def _teacher(recipe: Recipe, stage: str, section: TaughtSection, requests: int, longest: int) -> TeacherPlan | None:
    prices = recipe.synthesis.teacher
    if section.teacher.kind == "procedural" or not requests:
        return None
    most = float(requests * longest)
    asked, answered = float(requests * recipe.plan.teacher_input_tokens), most * recipe.plan.teacher_fill
    money = None
    if prices.price_per_million_input is not None and prices.price_per_million_output is not None:
        money = (asked * prices.price_per_million_input + answered * prices.price_per_million_output) / 1e6
    return TeacherPlan(stage, section.teacher.model, requests, asked, answered, most, money)
