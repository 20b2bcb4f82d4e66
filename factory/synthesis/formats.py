r"""The texts that problems become in pretraining, and the prompt that puts a question to a model that knows no chat.

A format is a contract with evaluation: a base checkpoint is asked by `native_prompt`, the head of `exercise`.
"""

from collections.abc import Sequence

from factory.synthesis.problems import Problem, write_solution

REMARKS = ("I would go step by step.", "Let me see.", "That is easy.")


def native_prompt(question: str) -> str:
    r"""The question as pretraining knows it: `Exercise. QUESTION\nSolution.`"""
    return f"Exercise. {question}\nSolution."


def exercise(question: str, solution: str) -> str:
    """An exercise with its solution."""
    return f"{native_prompt(question)} {solution}"


def question_and_answer(question: str, answer: str) -> str:
    """A question and its answer."""
    return f"Q: {question}\nA: {answer}"


def discussion(asker: str, helper: str, question: str, solution: str, answer: str, remark: str) -> str:
    """Two people: one asks, one solves, the first repeats the result."""
    return f"{asker}: {question}\n{helper}: {remark} {solution}\n{asker}: Thanks, {answer} it is."


def forum_thread(question: str, answer: str) -> str:
    """A terse thread; whether its answer is right is for the record's `kind` to say."""
    return f"re: homework\n{question}\n> Answer: {answer}"


def worksheet(number: int, problems: Sequence[Problem]) -> str:
    """Many problems in one long document: solved in brief, then a key at the end that looks back over all of them.

    Naturally long text trains long context better than short texts put end to end (section 3.2 of the paper): each line of
    the key needs its problem, far before it.
    """
    solved = [f"Problem {i}. {p.question}\n{write_solution(p, 'brief')}" for i, p in enumerate(problems, 1)]
    key = [f"Problem {i}: {p.answer}" for i, p in enumerate(problems, 1)]
    return "\n\n".join([f"Worksheet {number}", *solved, "Key\n" + "\n".join(key)])


def instructed_code(instruction: str, code: str) -> str:
    """An instruction, then the code that it asks for: never the other way round, or the instruction would be of no use."""
    return f"Instruction. {instruction}\nCode.\n{code}"


def read_instructed_code(text: str) -> tuple[str, str]:
    """Instruction and code of an `instructed_code` text."""
    instruction, _, code = text.removeprefix("Instruction. ").partition("\nCode.\n")
    return instruction, code
