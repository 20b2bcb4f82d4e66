"""What a passage is and holds, as appendix D.1.1 of the report tags excerpts: kind of information, grades, steps of reasoning.

The report has a large model tag. This tagger is a program: it sees the marks of language on the surface (conditions, reasons,
definitions, figures) and says so in its name. Both scores and grades are relative measures for ranking, nothing more.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from factory.curation.shingles import WORD

TAGGER = "program: surface marks of reasoning@1"

_REASON = re.compile(
    r"\b(because|therefore|thus|hence|since|so that|as a result|it follows|consequently|otherwise|unless|implies|if|then|else|elif"
    r"|when|while|until|first|next|finally|for example|suppose|given)\b"
)
_FACT = re.compile(
    r"\b(is an?|is the|are the|are|means|returns?|defined|called|known as|consists of|contains?"
    r"|represents?|describes?|raises?|default|equal to)\b|\b\d+\b"
)
_STATEMENTS = re.compile(
    r"\b[Ii]f (?P<a1>[^.,;\n][^.;]{8,160}?), (?:then )?(?P<c1>[^.;]{8,200})[.;]"
    r"|(?P<c2>[A-Z][^.;]{8,160}?),? because (?P<a2>[^.;]{8,200})[.;]"
    r"|(?P<a3>[A-Z][^.;]{8,160}?)[,;] (?:so|hence|thus|therefore),? (?P<c3>[^.;]{8,200})[.;]"
)
_BACK = re.compile(r"\b(above|previous|previously|preceding|earlier|aforementioned)\b")
_DOCTEST = re.compile(r"^\s*>>> ", re.MULTILINE)
_TABLE = re.compile(r"^\s*[=+-]{3,}[ =+-]*$|\t.*\t", re.MULTILINE)
GRADES = "EDCBA"
MAX_STEPS = 8

STEP = pa.struct([pa.field(name, pa.string(), nullable=False) for name in ("assumption", "conclusion", "description")])
TAG_FIELDS = (
    pa.field("information_type", pa.string(), nullable=False),
    pa.field("description", pa.string(), nullable=False),
    pa.field("complexity", pa.string(), nullable=False),
    pa.field("factual_obscurity", pa.string(), nullable=False),
    pa.field("chain_of_reasoning", pa.bool_(), nullable=False),
    pa.field("steps", pa.list_(STEP), nullable=False),
    pa.field("refers_back", pa.bool_(), nullable=False),
    pa.field("reasoning", pa.float32(), nullable=False),
    pa.field("factual", pa.float32(), nullable=False),
)


@dataclass(frozen=True)
class Tags:
    """The tags of one passage. Grades run from A (most complex, most obscure) to E; scores from 0 to 1."""

    information_type: str
    description: str
    complexity: str
    factual_obscurity: str
    chain_of_reasoning: bool
    steps: list[dict[str, str]]
    refers_back: bool
    reasoning: float
    factual: float

    def columns(self) -> dict[str, Any]:
        """The tags as a record's columns."""
        return asdict(self)


def tag(text: str, *, code: bool) -> Tags:
    """Read a passage's surface."""
    words = WORD.findall(text.lower())
    lower = text.lower()
    steps = reasoning_steps(text)
    marks = len(_REASON.findall(lower)) + 2 * len(steps)
    return Tags(
        information_type=_information_type(text, code=code),
        description=_description(text),
        complexity=_grade(_long_words(words, 8), 0.5),
        factual_obscurity=_grade(_long_words(words, 11), 0.2),
        chain_of_reasoning=len(steps) >= 2,
        steps=steps,
        refers_back=_BACK.search(lower) is not None,
        reasoning=_score(marks, len(words), 0.06),
        factual=_score(len(_FACT.findall(lower)), len(words), 0.08),
    )


def reasoning_steps(text: str) -> list[dict[str, str]]:
    """The sentences that join an assumption to a conclusion ("if A, B", "B because A", "A, so B"), at most `MAX_STEPS`."""
    steps = []
    for match in list(_STATEMENTS.finditer(text))[:MAX_STEPS]:
        found = match.groupdict()
        assumption = found["a1"] or found["a2"] or found["a3"]
        conclusion = found["c1"] or found["c2"] or found["c3"]
        steps.append({"assumption": _line(assumption), "conclusion": _line(conclusion), "description": _line(match.group())})
    return steps


def _information_type(text: str, *, code: bool) -> str:
    if code:
        return "code"
    if _DOCTEST.search(text):
        return "worked example"
    return "table" if len(_TABLE.findall(text)) >= 3 else "explanation"


def _description(text: str) -> str:
    """The first line that says something, cut to 120 characters."""
    lines = (line.strip(" #*\"'\t") for line in text.split("\n"))
    return next((line[:120] for line in lines if len(WORD.findall(line)) >= 2), "")


def _long_words(words: list[str], length: int) -> float:
    return sum(len(word) >= length for word in words) / max(len(words), 1)


def _grade(value: float, top: float) -> str:
    return GRADES[min(int(value / top * len(GRADES)), len(GRADES) - 1)]


def _score(marks: int, words: int, full: float) -> float:
    """Marks a word as a share of the density that counts as full."""
    return round(min(marks / max(words, 1) / full, 1.0), 3)


def _line(text: str) -> str:
    return " ".join(text.split())
