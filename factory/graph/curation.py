"""From raw documents to clean ones, seeds and question sets."""

from dataclasses import replace

from factory.curation.config import FolderConfig, RowsConfig
from factory.graph.stage import Stage
from factory.preference.oracles import REVISION as GRADING
from factory.recipe import Recipe
from factory.synthesis.config import QuestionBankConfig


def stages(recipe: Recipe) -> list[Stage]:
    """The curation group, in the order that data flows."""
    curation, synthesis = recipe.curation, recipe.synthesis
    raw = [_source(name, recipe) for name in recipe.sources]
    questions = {name: _questions(name, recipe) for name in recipe.questions}
    held_out = tuple(stage.name for name, stage in questions.items() if recipe.questions[name].held_out)
    return [
        *raw,
        *questions.values(),
        Stage(
            name="extracted_documents",
            group="curation",
            description="HTML turned into text with code, tables and equations kept; other text with its line ends normalised.",
            run="factory.curation.extract:run",
            section=curation.extract,
            inputs=tuple(stage.name for stage in raw),
            kinds=("python", "parquet"),
            seeded=False,
        ),
        Stage(
            name="filtered_documents",
            group="curation",
            description="Documents in a wanted language that are neither corrupt nor poor: every drop counted by its reason.",
            run="factory.curation.filter:run",
            section=curation.filter,
            inputs=("extracted_documents",),
            kinds=("scikitlearn", "parquet"),
            seeded=False,
        ),
        Stage(
            name="unique_documents",
            group="curation",
            description="One of each: exact duplicates by text, near duplicates by MinHash and verified by true Jaccard similarity.",
            run="factory.curation.dedup:run",
            section=curation.dedup,
            inputs=("filtered_documents",),
            kinds=("python", "parquet"),
            seeded=False,
        ),
        Stage(
            name="benchmarks",
            group="curation",
            description="Held-out problems with known answers: nothing that is trained on may hold one.",
            run="factory.synthesis.benchmarks:run",
            section=synthesis.benchmarks,
            inputs=held_out,
            code_version=2 if held_out else 1,
            kinds=("python", "parquet"),
            seeded=False,
        ),
        Stage(
            name="clean_documents",
            group="curation",
            description="Documents that share no telling n-grams with a benchmark (Algorithm 1), and the evidence against the others.",
            run="factory.curation.decontaminate:run",
            section=curation.decontamination,
            inputs=("unique_documents", "benchmarks"),
            kinds=("python", "parquet"),
            seeded=False,
        ),
        Stage(
            name="seed_passages",
            group="curation",
            description="Passages of educational documents, scored for reasoning and factual content: what the teacher starts from.",
            run="factory.curation.seeds:run",
            section=curation.seeds,
            inputs=("clean_documents",),
            kinds=("python", "parquet"),
            seeded=False,
        ),
        Stage(
            name="question_bank",
            group="curation",
            description="Training problems with known answers, none of them a benchmark's.",
            run="factory.synthesis.questions:run",
            section=_bank(recipe),
            inputs=("benchmarks", *(stage.name for stage in questions.values())),
            code_version=_bank_version(recipe),
            kinds=("python", "parquet"),
            runtime={"teacher": synthesis.teacher.runtime()},
        ),
    ]


def _source(name: str, recipe: Recipe) -> Stage:
    source = recipe.sources[name]
    where = source.path or "every Python installation"
    description = f"The source `{name}` as it came: {source.kind} from {where}, licence {source.license}."
    return from_outside(f"raw_documents/{name}", description, "factory.curation.sources", source, "curation")


def _questions(name: str, recipe: Recipe) -> Stage:
    source = recipe.questions[name]
    description = f"The questions `{name}` ({source.domain}) from {source.path}, licence {source.license}."
    return replace(from_outside(f"questions/{name}", description, "factory.synthesis.question_sources", source, "curation"), code_version=4)


def _bank(recipe: Recipe) -> QuestionBankConfig:
    """The bank's section; the thresholds against contamination concern it only where there are questions of one's own."""
    bank = recipe.synthesis.question_bank
    if not recipe.questions or bank.decontamination is not None:
        return bank
    return bank.model_copy(update={"decontamination": recipe.curation.decontamination})


def _bank_version(recipe: Recipe) -> int:
    """Where the teacher answers questions, oracles say which of its answers are alike."""
    asks = any(not (source.answer_field or source.tests_field) for source in recipe.questions.values())
    return (2 if recipe.questions else 1) + (GRADING if asks else 0)


def from_outside(name: str, description: str, module: str, source: FolderConfig, group: str) -> Stage:
    """What reads a source in `module`: its identity is what lies there, which is observed, and not where."""
    observer = "imports" if isinstance(source, RowsConfig) else "sources"
    return Stage(
        name=name,
        group=group,
        description=description,
        run=f"{module}:run",
        section=source,
        kinds=("s3" if source.path.startswith("s3://") else "file", "parquet"),
        seeded=False,
        observe=f"factory.curation.{observer}:observe",
        places=frozenset({"path"}),
    )
