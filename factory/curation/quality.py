"""Educational quality: a small classifier that learns from an annotator's grades, and the annotator of the offline recipe.

The paper distils an LLM's annotations into small non-LLM classifiers. Whatever grades texts (a teacher model, a person) can
stand in for `RuleAnnotator`, which is a program and says so. Grades go from 0 to 5, as in FineWeb-Edu.
"""

import re
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from factory.curation.shingles import WORD

EXCERPT = 4_000
"""Characters of a text that the annotator and the classifier see."""
TOP_GRADE = 5.0
FEATURES = 1 << 16

_REASONS = re.compile(
    r"\b(because|therefore|thus|hence|since|so that|if|when|unless|otherwise|whereas|although|means|implies|"
    r"note that|in order to|must|should)\b"
)
_EXAMPLES = re.compile(r"\b(for example|for instance|e\.g\.|such as|example|consider)|>>> ")
_SENTENCE = re.compile(r"(?<!\S)(?:[\w`'\"(),;/*-]++[ \n]++){6,}+[\w`'\"()*-]++[.!?:](?:\s|$)")
"""Seven words or more to a full stop; possessive, so that a text without one costs no time."""


class Annotator(Protocol):
    """Whoever grades texts."""

    @property
    def name(self) -> str:
        """Who it is, for the record."""
        ...

    def grade(self, texts: Sequence[str]) -> list[float]:
        """The educational value of each text: 0 (none) to 5 (excellent)."""
        ...


class RuleAnnotator:
    """A program that counts the marks of explanation: full sentences, reasons and conditions, examples, a varied vocabulary."""

    name = "program: rules of explanation@1"

    def grade(self, texts: Sequence[str]) -> list[float]:
        """Two points for the share of full sentences, one each for reasons, examples and vocabulary."""
        return [self._grade(text[:EXCERPT]) for text in texts]

    def _grade(self, text: str) -> float:
        words = WORD.findall(text.lower())
        if len(words) < 10:
            return 0.0
        prose = min(sum(match.end() - match.start() for match in _SENTENCE.finditer(text)) / len(text) / 0.6, 1.0)
        reasons = min(len(_REASONS.findall(text.lower())) / len(words) / 0.03, 1.0)
        examples = min(len(_EXAMPLES.findall(text.lower())) / 2, 1.0)
        variety = min(len(set(words[:200])) / len(words[:200]) / 0.6, 1.0)
        return 2 * prose + reasons + examples + variety


class QualityClassifier:
    """Ridge regression on hashed words and word pairs: tens of thousands of texts a CPU second."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.linear_model import Ridge

        self._features = HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), alternate_sign=False, norm="l2")
        self._model: Any = Ridge(alpha=0.3, solver="sparse_cg", max_iter=200, tol=1e-4)

    def fit(self, texts: Sequence[str], grades: Sequence[float]) -> float | None:
        """Learn from graded texts; the correlation with the grades of a held-out fifth (None below 20 texts)."""
        features, target = self._features.transform(_excerpts(texts)), np.array(grades) / TOP_GRADE
        agreement = None
        if len(texts) >= 20:
            held = np.arange(len(texts)) % 5 == 0
            self._model.fit(features[~held], target[~held])
            agreement = _correlation(self._model.predict(features[held]), target[held])
        self._model.fit(features, target)
        return agreement

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The predicted share of the top grade of each text, 0 to 1, shape (texts,)."""
        scores = np.clip(self._model.predict(self._features.transform(_excerpts(texts))), 0.0, 1.0)
        # Three digits: the last bits of a sum depend on the processor, and would change the artefact's digest.
        return np.round(scores, 3).astype(np.float32)


def _excerpts(texts: Sequence[str]) -> list[str]:
    return [text[:EXCERPT] for text in texts]


def _correlation(left: NDArray[Any], right: NDArray[Any]) -> float:
    if left.std() == 0 or right.std() == 0:
        return 0.0
    return round(float(np.corrcoef(left, right)[0, 1]), 3)
