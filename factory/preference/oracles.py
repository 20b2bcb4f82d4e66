r"""Small oracles: is the answer that a text ends in the right one?

Pivotal token search, judging and evaluation must all agree on what success is, so they all ask here. An oracle reads only
the last stated answer of a text ("Answer: X", "\boxed{X}" or "#### X"): a model that states two answers is held to the
last. Numbers are compared as exact fractions, so no tolerance can turn a near miss into a success.
"""

import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

_LINE_MARKERS = re.compile(r"answer:|####", re.IGNORECASE)
_BOX = r"\boxed{"
_DECIMAL = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?"
_RATIO = re.compile(rf"(?P<sign>[+-]?)(?P<numerator>{_DECIMAL})(?:/(?P<denominator>{_DECIMAL}))?(?P<percent>%?)")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}")
_CHOICE = re.compile(r"\(?([A-Z])(?:[).:].*)?")
_LONGEST_NUMBER = 60


def answer_is_correct(text: str, answer: str) -> bool:
    """Whether the last answer that `text` states is `answer`: as text, as a number, or as the letter of a choice."""
    given = final_answer(text)
    if given is None:
        return False
    return exact(given, answer) or numeric(given, answer) or multiple_choice(given, answer)


def final_answer(text: str) -> str | None:
    """The last answer that a text states, without mark-up; None where it states none or the statement is empty."""
    box = text.rfind(_BOX)
    markers = [match.end() for match in _LINE_MARKERS.finditer(text)]
    if box >= 0 and (not markers or box >= markers[-1]):
        found = _braced(text[box + len(_BOX) :])
    else:
        found = text[markers[-1] :].split("\n", 1)[0] if markers else None
    return None if found is None else _plain(found) or None


def exact(given: str, answer: str) -> bool:
    """Equal as text, apart from mark-up and white space."""
    return _plain(given) == _plain(answer)


def numeric(given: str, answer: str) -> bool:
    """Equal as exact fractions; False where either is no number."""
    left, right = number(given), number(answer)
    return left is not None and left == right


def multiple_choice(given: str, answer: str) -> bool:
    """Whether both name the same choice: `B`, `(B)`, `B.` and `B) some text` are one."""
    left, right = (_CHOICE.fullmatch(_plain(side)) for side in (given, answer))
    return left is not None and right is not None and left[1] == right[1]


def plurality(answers: Iterable[str | None]) -> str | None:
    """The answer most often given, when it informs: None when all agree, when none repeats, or when two tie for first.

    Agreement of all means the question is too easy, no repetition that it is too hard or ambiguous (paper, section 2.2).
    Numbers that are equal count as one answer; an unstated answer (None) takes part as disagreement.
    """
    given = list(answers)
    keys = [None if a is None else number(a) if number(a) is not None else _plain(a) for a in given]
    ranking = Counter(key for key in keys if key is not None).most_common(2)
    if not ranking or not 1 < ranking[0][1] < len(given):
        return None
    if len(ranking) == 2 and ranking[0][1] == ranking[1][1]:
        return None
    return given[keys.index(ranking[0][0])]


def number(text: str) -> Fraction | None:
    """The exact value of a written number: `1,200`, `-3/4`, `0.5`, `50%`, `$7`, `2e3`; None for anything else."""
    plain = _LATEX_FRACTION.sub(r"\1/\2", _plain(text)).replace("−", "-")
    found = _RATIO.fullmatch(re.sub(r"[$\\ ]", "", plain)) if len(plain) <= _LONGEST_NUMBER else None
    if found is None:
        return None
    numerator, denominator = _decimal(found["numerator"]), _decimal(found["denominator"] or "1")
    if denominator == 0:
        return None
    sign = -1 if found["sign"] == "-" else 1
    return sign * numerator / denominator / (100 if found["percent"] else 1)


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _braced(text: str) -> str | None:
    """The content of a group whose opening brace was just read; None where it is never closed."""
    depth = 1
    for index, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[:index]
    return None


def _plain(text: str) -> str:
    """Text without the mark-up that people put around an answer, and with single spaces."""
    words = " ".join(text.split())
    words = re.sub(r"\\text\{([^{}]*)\}", r"\1", words)
    return words.strip("*`$ ").removesuffix(".").strip("*`$ ")
