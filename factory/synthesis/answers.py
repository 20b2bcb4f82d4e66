"""Reading what a teacher wrote: the form that the prompt fixed, or a counted drop with its reason.

Grounding is checked where it can be: a cloze exercise with its gap filled must occur in the passage word for word, and a
rewritten problem must still state its question and its answer.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from factory.preference.oracles import answer_is_correct
from factory.synthesis.teacher import TeacherAnswer

GAP = "____"
LONGEST = 6000
LETTERS_READ = 200
MOST_GAP_WORDS = 4
_TURN = re.compile(r"^([^\W\d_][\w .'-]{0,30}): \S", re.MULTILINE)


class InvalidAnswerError(ValueError):
    """An answer that cannot be used; the message is the drop's reason."""


@dataclass(frozen=True)
class Cloze:
    """An exercise with a gap, and what is missing in it."""

    text: str
    missing: str

    def filled(self) -> str:
        """The text with the gap filled."""
        return self.text.replace(GAP, self.missing)


def usable_text(answer: TeacherAnswer, like: str) -> str:
    """The answer's text, which must be complete, not empty, of sane length, and in the script of `like`."""
    text = answer.text.strip()
    if not answer.complete:
        raise InvalidAnswerError("cut short")
    if not text:
        raise InvalidAnswerError("empty")
    if len(text) > LONGEST:
        raise InvalidAnswerError("too long")
    if script(text) != script(like):
        raise InvalidAnswerError("other script")
    return text


def script(text: str) -> str:
    """The script of most letters (`LATIN`, `CYRILLIC`, `CJK`, ...); empty where there are no letters."""
    letters = [character for character in text if character.isalpha()][:LETTERS_READ]
    scripts = Counter(unicodedata.name(letter, "UNNAMED").split()[0] for letter in letters)
    return scripts.most_common(1)[0][0] if scripts else ""


def read_fields(text: str, first: str, second: str) -> tuple[str, str]:
    """The two parts of an answer of the form `FIRST: ...` then `SECOND: ...`."""
    match = re.fullmatch(rf"{first}: (.+?)\n{second}: (.+)", text, re.DOTALL)
    if match is None:
        raise InvalidAnswerError("missing field")
    return match[1].strip(), match[2].strip()


def read_question_and_answer(text: str) -> tuple[str, str]:
    """The question and the answer."""
    return read_fields(text, "Q", "A")


def read_cloze(text: str, passage: str) -> Cloze:
    """The exercise; with its gap filled it must occur in the passage (white space apart)."""
    cloze = Cloze(*read_fields(text, "Text", "Missing"))
    if cloze.text.count(GAP) != 1 or not 1 <= len(cloze.missing.split()) <= MOST_GAP_WORDS:
        raise InvalidAnswerError("no single gap")
    if " ".join(cloze.filled().split()) not in " ".join(passage.split()):
        raise InvalidAnswerError("not grounded")
    return cloze


def read_discussion(text: str) -> str:
    """A discussion: at least three turns, between exactly two speakers."""
    speakers = _TURN.findall(text)
    if len(speakers) < 3 or len(set(speakers)) != 2:
        raise InvalidAnswerError("not a discussion")
    return text


def read_critique(text: str) -> tuple[int, str]:
    """The critic's score (1 to 5) and suggestion."""
    score, suggestion = read_fields(text, "Score", "Suggestion")
    if score not in {"1", "2", "3", "4", "5"}:
        raise InvalidAnswerError("no score")
    return int(score), suggestion


def read_problem_rewrite(text: str, question: str, answer: str) -> str:
    """A rewritten problem: the question word for word, and the answer that was asked for."""
    if question not in text:
        raise InvalidAnswerError("question changed")
    if not answer_is_correct(text, answer):
        raise InvalidAnswerError("answer changed")
    return text
