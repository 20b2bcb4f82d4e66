"""List operations: reverse, sort, drop and append on a few digits, then name one of them."""

import random

from factory.synthesis.problems.problem import Problem, Step

STARTS = ("Start with the list {0}.", "Take the digits {0}.", "The list is {0}.")
QUESTIONS = ("What is the {0} item?", "Give the {0} number.")
OPERATIONS = ("reverse it", "drop the first", "drop the last", "append", "sort it")
SHORTEST, LONGEST = 2, 5


def draw_listing(random: random.Random, steps: int) -> Problem:
    """A list problem of `steps` steps: the last one picks the answer, those before change the list."""
    items = [random.randint(0, 9) for _ in range(random.randint(3, 4))]
    start = f"list {_show(items)}"
    sentences = [random.choice(STARTS).format(_show(items))]
    done: list[Step] = []
    for _ in range(steps - 1):
        name, items = _draw_operation(random, items)
        sentences.append(f"{name[0].upper()}{name[1:]}.")
        done.append(Step(name, "", _show(items)))
    which, answer = random.choice(
        (("first", items[0]), ("last", items[-1]), ("largest", max(items)), ("smallest", min(items)), ("second", items[1]))
    )
    sentences.append(random.choice(QUESTIONS).format(which))
    done.append(Step(which, "", str(answer)))
    return Problem("list", " ".join(sentences), start, tuple(done), str(answer))


def _draw_operation(random: random.Random, items: list[int]) -> tuple[str, list[int]]:
    """An operation that leaves two to five digits, and the list after it."""
    while True:
        name = random.choice(OPERATIONS)
        if name == "append":
            digit = random.randint(0, 9)
            if len(items) < LONGEST:
                return f"append {digit}", [*items, digit]
        elif not name.startswith("drop") or len(items) > SHORTEST:
            return name, _apply(name, items)


def _apply(name: str, items: list[int]) -> list[int]:
    if name == "reverse it":
        return items[::-1]
    if name == "sort it":
        return sorted(items)
    return items[1:] if name == "drop the first" else items[:-1]


def _show(items: list[int]) -> str:
    return " ".join(map(str, items))
