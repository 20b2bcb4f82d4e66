"""The settings of the curation stages. The paper states none of these values: each default is our choice for the laptop recipe."""

from typing import Literal, Self

from pydantic import Field, model_validator

from factory.settings import Section

SourceKind = Literal["folder", "pydoc_html", "stdlib_code", "language_reference", "docstrings"]

OPTION_GRIDS = (
    "a i only b ii only c iii only d i and ii only e i ii and iii",
    "a i only b ii only c i and ii only d i and iii only e i ii and iii",
    "a true true b false false c true false d false true.",
    "a logically equivalent b contradictory c neither logically equivalent nor contradictory but consistent d inconsistent",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
)
"""Answer grids of multiple-choice tests: their 13-grams say nothing about any one question (paper, appendix B)."""


class FolderConfig(Section):
    """Files from outside: a folder or an S3 prefix, which of its files, and how much of them."""

    path: str = Field(default="", description="folder, or s3://BUCKET/PREFIX")
    include: tuple[str, ...] = Field(default=("*",), min_length=1, description="globs of relative paths to read; `*` also matches `/`")
    license: str = Field(default="unknown", min_length=1, description="SPDX licence of what the files hold")
    id_field: str = Field(default="", description="the id's field in JSONL and Parquet; empty: the row's number")
    limit_documents: int | None = Field(default=None, ge=1, description="stop after so many documents")
    max_bytes: int | None = Field(default=None, ge=1, description="stop before reading more than so many bytes of text")
    max_document_bytes: int = Field(default=4_000_000, ge=1_000, le=1_000_000_000, description="drop longer documents, unread beyond this")

    @model_validator(mode="after")
    def _prefix_has_a_bucket(self) -> Self:
        if self.path.startswith("s3://") and not self.path.removeprefix("s3://").partition("/")[0]:
            raise ValueError(f"path {self.path!r} names no bucket: write s3://BUCKET/PREFIX")
        return self


class RowsConfig(FolderConfig):
    """Rows of JSONL or Parquet."""

    path: str = Field(min_length=1, description="folder, or s3://BUCKET/PREFIX")
    include: tuple[str, ...] = Field(default=("*.jsonl*", "*.parquet"), min_length=1, description="globs of relative paths to read")


class SourceConfig(FolderConfig):
    """One source of raw documents: a folder, an S3 prefix, or text that every Python installation brings along."""

    kind: SourceKind = Field(default="folder", description="a folder or prefix of files, or one of the built-in organic sources")
    path: str = Field(default="", description="folder, or s3://BUCKET/PREFIX; for kind `folder` only")
    license: str = Field(default="PSF-2.0", min_length=1, description="SPDX licence of the documents")
    cluster: Literal["web", "code", "acquired"] = Field(default="web", description="which cluster of the mixture the documents join")
    text_field: str = Field(default="text", min_length=1, description="the text's field in JSONL and Parquet")

    @model_validator(mode="after")
    def _path_fits_kind(self) -> Self:
        if (self.kind == "folder") != bool(self.path):
            raise ValueError(f"path is {self.path!r} with kind {self.kind!r}: kind `folder` needs a path, the built-in kinds take none")
        return self


class ExtractConfig(Section):
    """HTML to text; Markdown, text and code pass through with line ends normalised."""

    main_content: bool = Field(default=True, description="prune navigation and boilerplate from web pages")
    min_characters: int = Field(default=1, ge=1, description="drop a document of which less text is left")


class FilterConfig(Section):
    """What is kept of the extracted documents: languages, sizes, sane statistics, quality."""

    languages: tuple[str, ...] = Field(
        default=("en", "de", "es", "fr", "pt", "it", "hi", "ja"), min_length=1, description="ISO codes to keep"
    )
    min_confidence: float = Field(default=0.35, ge=0, le=1, description="least confidence of the language identification")
    min_characters: int = Field(default=80, ge=1, description="drop shorter documents")
    max_characters: int = Field(default=2_000_000, ge=1_000, description="drop longer documents")
    min_compression_ratio: float = Field(default=1.35, ge=0, description="bytes over zlib bytes; random data and base64 lie below")
    max_compression_ratio: float = Field(default=12.0, gt=1, description="bytes over deflated bytes; endless repetition lies above")
    max_repeated_ngrams: float = Field(default=0.6, gt=0, le=1, description="largest share of word 10-grams that repeat an earlier one")
    max_symbol_fraction: float = Field(
        default=0.35, gt=0, le=1, description="largest share of symbols in prose, and of control or private characters in code"
    )
    annotations: int = Field(default=1_500, ge=20, description="how many documents the annotator labels to train the quality classifier")
    min_quality: float = Field(default=0.1, ge=0, le=1, description="drop documents of lower predicted grade (share of the top grade)")


class DedupConfig(Section):
    """Exact and near duplicates. A pair meets as MinHash candidates and is verified by its true Jaccard similarity."""

    shingle_words: int = Field(default=5, ge=1, le=20, description="words in a shingle")
    bands: int = Field(default=14, ge=1, le=128, description="bands of the MinHash signature")
    rows: int = Field(default=8, ge=1, le=64, description="values in a band; two documents of similarity s meet with 1-(1-s^rows)^bands")
    min_jaccard: float = Field(default=0.8, gt=0, le=1, description="similarity at which the later document is dropped")
    max_candidates: int = Field(
        default=64, ge=1, description="verify at most so many candidates for a document, those sharing most bands first"
    )
    warn_loss: float = Field(default=0.5, gt=0, le=1, description="warn when a source loses a larger share of its documents")


class DecontaminationConfig(Section):
    """Algorithm 1 of the paper (appendix B); it leaves the thresholds open."""

    info_threshold: float = Field(default=0.3, ge=0, le=1, description="7-gram overlap ratio above which evidence is kept")
    contaminated_threshold: float = Field(default=0.6, gt=0, le=1, description="7-gram overlap ratio from which a document is dropped")
    allowed_phrases: tuple[str, ...] = Field(default=OPTION_GRIDS, description="texts whose 13-grams are too common to prove anything")
    common_problems: int = Field(default=3, ge=2, description="a 13-gram that so many benchmark problems share identifies none of them")

    @model_validator(mode="after")
    def _thresholds_are_ordered(self) -> Self:
        if self.info_threshold >= self.contaminated_threshold:
            raise ValueError(f"info_threshold {self.info_threshold} must lie below contaminated_threshold {self.contaminated_threshold}")
        return self


class SeedConfig(Section):
    """The two-stage choice of seeds (section 2.2): educational pages first, then passages that reason or state facts."""

    min_educational: float = Field(default=0.4, ge=0, le=1, description="least quality of a document to be cut into passages")
    min_passage_characters: int = Field(default=300, ge=20, description="shortest passage")
    max_passage_characters: int = Field(default=2_000, ge=100, description="longest passage")
    min_reasoning: float = Field(default=0.3, ge=0, le=1, description="keep a passage with this reasoning score")
    min_factual: float = Field(default=0.5, ge=0, le=1, description="or with this score of factual content")
    max_passages_a_document: int = Field(default=64, ge=1, description="best passages of one document")
    max_passages: int = Field(default=5_000, ge=1, description="best passages of all")
