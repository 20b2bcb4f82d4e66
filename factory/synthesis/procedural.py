"""The procedural teacher: a program, not a language model. It stands in where there is no endpoint.

It obeys the same prompts through their variables, by rules one can read: a sentence `X is ...` makes a question about X, a
long word makes a gap, a program is described line by line and compiled back from the description. Its model name says what
it is, so nobody mistakes its texts for a model's.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from factory.synthesis.answers import GAP
from factory.synthesis.config import PROCEDURAL_MODEL
from factory.synthesis.formats import REMARKS, discussion, forum_thread
from factory.synthesis.procedural_code import code_from_instruction, code_instruction
from factory.synthesis.teacher import TeacherAnswer, TeacherRequest

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])")
_DEFINITION = re.compile(r"^(?:(?:The|A|An) )?([A-Za-z][\w .()`'-]{1,50}?) (is|are|means|returns|contains) (.{10,})$", re.DOTALL)
_WORD = re.compile(r"\b[A-Za-z][a-z]{4,}\b")
_POINTERS = frozenset({"this", "that", "these", "those", "it", "they", "he", "she", "there", "which", "what", "one", "note", "if", "here"})
MOST_WORDS = 60
LEAST_PROSE = 0.85
_EXPLAINERS = ("Nora", "Omar", "Ravi", "Sara", "Tom", "Uma", "Vera", "Will")
_STOP_WORDS = frozenset({"about", "after", "before", "other", "their", "there", "these", "those", "which", "where", "while", "would"})
Handler = Callable[[Mapping[str, str], random.Random], str]


class ProceduralTeacher:
    """Answers every prompt of `factory.synthesis.prompts` by rule; deterministic in the request. What it cannot do, it leaves empty."""

    model = PROCEDURAL_MODEL

    def answer(self, requests: Sequence[TeacherRequest]) -> list[TeacherAnswer]:
        """One answer for each request, in order; free of charge."""
        return [TeacherAnswer(self._write(request), self.model) for request in requests]

    def _write(self, request: TeacherRequest) -> str:
        name = request.prompt_id.partition("@")[0]
        return HANDLERS[name](request.variables, random.Random(request.key(self.model)))


def sentences(passage: str) -> list[str]:
    """The sentences of a passage, white space squeezed; code, signatures and tables are not sentences."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", passage)]
    parts = [part for paragraph in paragraphs for part in _SENTENCE_END.split(paragraph)]
    return [part for part in parts if _is_prose(part)]


def _is_prose(text: str) -> bool:
    if not 5 <= len(text.split()) <= MOST_WORDS or not text.endswith((".", "!", "?")) or "__" in text:
        return False
    return sum(character.isalpha() or character == " " for character in text) >= LEAST_PROSE * len(text)


def passage_question(variables: Mapping[str, str], random: random.Random) -> str:
    """A question about the subject of a defining sentence, answered by that sentence."""
    found = [(match, sentence) for sentence in sentences(variables["passage"]) if (match := _DEFINITION.match(sentence))]
    # "What is this?" asks nothing.
    matches = [(match, sentence) for match, sentence in found if match[1].split()[0].lower() not in _POINTERS]
    if not matches:
        return ""
    match, sentence = random.choice(matches)
    question = {
        "is": f"What is {match[1]}?",
        "are": f"What are {match[1]}?",
        "means": f"What does {match[1]} mean?",
        "returns": f"What does {match[1]} return?",
        "contains": f"What does {match[1]} contain?",
    }[match[2]]
    return f"Q: {question}\nA: {sentence}"


def passage_cloze(variables: Mapping[str, str], random: random.Random) -> str:
    """A sentence with one of its longer words taken out; the first draft, which may be too easy."""
    found = sentences(variables["passage"])
    return _cloze(found[0], random, unique=False) if found else ""


def revise_exercise(variables: Mapping[str, str], random: random.Random) -> str:
    """A gap that nothing else in the exercise gives away, if any sentence has one."""
    drafts = [_cloze(sentence, random, unique=True) for sentence in sentences(variables["passage"])]
    return next((draft for draft in drafts if draft), "")


def critique_exercise(variables: Mapping[str, str], _: random.Random) -> str:
    """Low where the missing word stands elsewhere in the exercise or says little."""
    if variables["missing"].lower() in variables["text"].lower():
        return "Score: 2\nSuggestion: Take out a span that is not repeated in the text."
    if len(variables["missing"]) < 6:
        return "Score: 3\nSuggestion: Take out a span that says more."
    return "Score: 5\nSuggestion: Keep it."


def _cloze(sentence: str, random: random.Random, *, unique: bool) -> str:
    words = [match for match in _WORD.finditer(sentence) if match[0].lower() not in _STOP_WORDS]
    if unique:
        words = [word for word in words if len(word[0]) >= 6 and sentence.lower().count(word[0].lower()) == 1]
    if not words or GAP in sentence:
        return ""
    word = random.choice(words)
    return f"Text: {sentence[: word.start()]}{GAP}{sentence[word.end() :]}\nMissing: {word[0]}"


def passage_discussion(variables: Mapping[str, str], random: random.Random) -> str:
    """One person tells the first sentences of the passage, the other asks for more and thanks."""
    found = sentences(variables["passage"])
    if len(found) < 2:
        return ""
    asker, teller = random.sample(_EXPLAINERS, 2)
    opening = random.choice(("What does the text say?", "Can you explain this to me?", "What did you read?"))
    more = random.choice(("And what else?", "Is there more to it?", "I see. What follows?"))
    thanks = random.choice(("Thanks, that helps.", "Now it is clear.", "Good to know."))
    turns = [(asker, opening), (teller, found[0]), (asker, more), (teller, found[1]), (asker, thanks)]
    return "\n".join(f"{name}: {said}" for name, said in turns)


def question_discussion(variables: Mapping[str, str], random: random.Random) -> str:
    """The problem as a discussion, in the fixed format."""
    v = variables
    return discussion(v["asker"], v["helper"], v["question"], v["solution"], v["answer"], random.choice(REMARKS))


def question_forum(variables: Mapping[str, str], _: random.Random) -> str:
    """The problem as a forum thread, in the fixed format."""
    return forum_thread(variables["question"], variables["answer"])


def no_answer(_: Mapping[str, str], __: Any) -> str:
    """A program does not know the answer to an organic question, and says so by saying nothing."""
    return ""


HANDLERS: dict[str, Handler] = {
    "passage-question": passage_question,
    "passage-cloze": passage_cloze,
    "passage-discussion": passage_discussion,
    "critique-exercise": critique_exercise,
    "revise-exercise": revise_exercise,
    "question-discussion": question_discussion,
    "question-forum": question_forum,
    "code-instruction": lambda variables, random: code_instruction(variables["code"], random),
    "code-from-instruction": lambda variables, _: code_from_instruction(variables["instruction"]),
    "answer-question": no_answer,
}
