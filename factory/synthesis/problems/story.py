"""Word problems: somebody gains, loses and doubles things."""

import random

from factory.synthesis.problems.problem import LARGEST_VALUE, Problem, Step

NAMES = ("Ann", "Ben", "Cara", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivan", "Jane", "Kim", "Leo", "Mia", "Ned", "Olga", "Pat")
ITEMS = ("apples", "pens", "coins", "books", "cards", "stamps", "shells", "marbles")
STARTS = ("{name} has {number} {items}.", "At first {name} owns {number} {items}.", "{name} starts with {number} {items}.")
SENTENCES = {
    "gain": (
        "{name} gets {number} more {items}.",
        "A friend gives {name} {number} {items}.",
        "{name} buys {number} {items}.",
        "{name} finds {number} {items}.",
    ),
    "lose": (
        "{name} loses {number} {items}.",
        "{name} gives away {number} {items}.",
        "{name} sells {number} {items}.",
        "Then {number} {items} are stolen from {name}.",
    ),
    "double": ("{name} doubles the number of {items}.", "Now {name} has twice as many {items}."),
}
QUESTIONS = ("How many {items} does {name} have now?", "How many {items} are left with {name}?", "What is the final number of {items}?")
# Doubling is drawn half as often as the others: it soon leaves the range.
CHANGES = ("gain", "gain", "lose", "lose", "double")


def draw_story(random: random.Random, steps: int) -> Problem:
    """A word problem of `steps` changes."""
    name, items, value = random.choice(NAMES), random.choice(ITEMS), random.randint(3, 20)
    start = value
    sentences = [random.choice(STARTS).format(name=name, number=value, items=items)]
    done: list[Step] = []
    for _ in range(steps):
        change, amount = _draw_change(random, value)
        step = _apply(change, value, amount)
        sentences.append(random.choice(SENTENCES[change]).format(name=name, number=amount, items=items))
        done.append(step)
        value = int(step.value)
    sentences.append(random.choice(QUESTIONS).format(name=name, items=items))
    return Problem("story", " ".join(sentences), f"start {start}", tuple(done), str(value))


def _draw_change(random: random.Random, value: int) -> tuple[str, int]:
    """A change that keeps the value within 0 to 40, and by how much."""
    while True:
        change, amount = random.choice(CHANGES), random.randint(2, 9)
        if change == "gain" and value + amount <= LARGEST_VALUE:
            return change, amount
        if change == "lose" and value >= amount:
            return change, amount
        if change == "double" and 2 <= value <= LARGEST_VALUE // 2:
            return change, amount


def _apply(change: str, value: int, amount: int) -> Step:
    if change == "gain":
        return Step(change, f"{value} + {amount}", str(value + amount))
    if change == "lose":
        return Step(change, f"{value} - {amount}", str(value - amount))
    return Step(change, f"{value} * 2", str(value * 2))
