"""Solutions in ordinary Python run; what reaches out, digs into objects or never ends does not, or fails."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.preference.code import CodeTests, passes, same
from factory.preference.oracles import answer_is_correct
from factory.preference.submitted_code import ATTRIBUTES, BUILTINS, prepared
from factory.synthesis.validate import RefusedCodeError


def returns(value: Any) -> CodeTests:
    return CodeTests(function="f", inputs=[[3]], outputs=[value])


ORDINARY = {
    "import": "import math\ndef f(x):\n    return math.floor(math.sqrt(x * 27))",
    "import from": "from math import sqrt\nfrom itertools import chain\ndef f(x):\n    return int(sqrt(81)) + sum(chain([0]))",
    "import as": "import collections as c\ndef f(x):\n    return c.Counter('a' * 9).most_common(1)[0][1]",
    "import inside": "def f(x):\n    import functools\n    return functools.reduce(lambda a, b: a * b, [3, 3])",
    "regular expression": "import re\ndef f(x):\n    return len(re.findall(r'a+', 'a-' * 9))",
    "typing": "from typing import List, Optional\ndef f(x: Optional[int], y: List[int] = []) -> List[int]:\n    z: int = 9\n    return z",
    "helper": "def g(x):\n    return x * x\n\ndef f(x):\n    return g(x)",
    "constant": "BASE = 9\ndef f(x):\n    return BASE",
    "power": "def f(x):\n    return x ** 2",
    "f-string": "def f(x):\n    return int(f'{x * 3:d}')",
    "try": "def f(x):\n    try:\n        return [][x]\n    except IndexError as error:\n        return 9\n    finally:\n        pass",
    "trailing call": "def f(x):\n    return 9\n\nprint(f(3))\nassert f(3) == 9\nif __name__ == '__main__':\n    print(f(4))",
    "print": "def f(x):\n    print('thinking')\n    return 9",
    "lambda and nested": "def f(x):\n    def g(y):\n        nonlocal x\n        x += y\n        return x\n    return (lambda z: g(z))(6)",
    "comprehensions": "def f(x):\n    return len({a: b for a, b in enumerate('abc')}) * len({a for a in 'abca'})",
    "generator": "def g(n):\n    for i in range(n):\n        yield i\n\ndef f(x):\n    return sum(g(5)) - 1",
    "cache": "from functools import lru_cache\n@lru_cache(maxsize=None)\ndef f(x):\n    return 9 if x == 3 else f(x - 1)",
    "bits": "def f(x):\n    return (x << 1 | 1) + (x & 2)",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_python_runs(name: str) -> None:
    assert passes(f"So:\n```python\n{ORDINARY[name]}\n```", returns(9))


HOSTILE = {
    "import os": "import os\ndef f(x):\n    return 9",
    "import from a package": "from os.path import join\ndef f(x):\n    return 9",
    "submodule": "import collections.abc\ndef f(x):\n    return 9",
    "star": "from math import *\ndef f(x):\n    return 9",
    "relative": "from . import math\ndef f(x):\n    return 9",
    "a module's own imports": "import re\ndef f(x):\n    return re.enum and 9",
    "a formatter": "import string\ndef f(x):\n    return string.Formatter() and 9",
    "dunder attribute": "def f(x):\n    return ().__class__ and 9",
    "format": "def f(x):\n    return '{0.__class__}'.format(x) and 9",
    "dunder in an f-string": "def f(x):\n    return f'{x.__class__}' and 9",
    "frame": "def f(x):\n    return (i for i in ()).gi_frame and 9",
    "traceback": "def f(x):\n    try:\n        raise ValueError\n    except ValueError as e:\n        return e.__traceback__ and 9",
    "getattr": "def f(x):\n    return getattr(x, 'real') and 9",
    "type": "def f(x):\n    return type(x) and 9",
    "open": "def f(x):\n    return open('/etc/passwd').read() and 9",
    "builtins by name": "def f(x):\n    return __builtins__ and 9",
    "import by name": "def f(x):\n    return __import__('os') and 9",
    "fullwidth": "def f(x):\n    return ().＿＿class＿＿ and 9",  # which Python reads as underscores
    "class": "class A:\n    pass\ndef f(x):\n    return 9",
    "match": "def f(x):\n    match x:\n        case int(__class__=c):\n            return 9",
    "with": "def f(x):\n    with open('a'):\n        return 9",
    "global": "def f(x):\n    global g\n    return 9",
    "no end": "def f(x):\n    while True:\n        try:\n            f(x)\n        except Exception:\n            pass",
    "tower": "def f(x):\n    return 9 ** 9 ** 9 ** 9",
    "memory": "def f(x):\n    return len('a' * 10 ** 10) and 9",
    "recursion": "def f(x):\n    return f(x)",
    "at load": "X = [0] * 10 ** 10\ndef f(x):\n    return 9",
    "long value": "def f(x):\n    return 'a' * 10 ** 7",
    "deep value": "def f(x):\n    y = []\n    for i in range(10 ** 5):\n        y = [y]\n    return y",
    "cycle": "def f(x):\n    y = []\n    y.append(y)\n    return y",
    "other name": "def g(x):\n    return 9",
    "not Python": "def f(x) return 9",
    "nested too deeply": "def f(x):\n    return " + "(" * 500 + "9" + ")" * 500,
    "no text": "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_reaches_out_or_never_ends_fails(name: str) -> None:
    begin = time.monotonic()
    assert not passes(HOSTILE[name], returns(9))
    assert time.monotonic() - begin < 10


def test_nothing_that_digs_into_objects_is_offered() -> None:
    assert not {"getattr", "setattr", "vars", "dir", "type", "object", "super", "eval", "exec", "compile", "open", "input"} & BUILTINS
    assert not {"format", "format_map", "func", "args", "mro"} & ATTRIBUTES
    assert not [name for name in BUILTINS | ATTRIBUTES if name.startswith("_")]


@pytest.mark.parametrize(
    ("returned", "expected", "right"),
    [
        ("(1, 2)", [1, 2], True),
        ("[(1, 2), [3]]", [[1, 2], [3]], True),
        ("2.0", 2, True),
        ("0.1 + 0.2", 0.3, True),
        ("2", 2.0, True),
        ("{1, 2}", [2, 1], True),
        ("{'a': (1, 2.0)}", {"a": [1, 2]}, True),
        ("{1: 'a', True: 'b'}", {"1": "b"}, True),
        ("None", None, True),
        ("__import__('os')", None, False),
        ("[1, 2]", [2, 1], False),
        ("{1, 2}", [1, 1], False),
        ("2.001", 2, False),
        ("'2'", 2, False),
        ("[1]", 1, False),
        ("[]", None, False),
        ("{'a': 1}", {"a": 1, "b": 2}, False),
        ("float('nan')", 0.0, False),
    ],
)
def test_values_are_compared_as_values(returned: str, expected: Any, right: bool) -> None:
    assert passes(f"def f(x):\n    return {returned}", returns(expected)) is right


def test_counters_and_queues_are_dictionaries_and_lists() -> None:
    code = "from collections import Counter, deque\ndef f(x):\n    return Counter('aab') if x else deque([1])"
    assert passes(code, CodeTests(function="f", inputs=[[1], [0]], outputs=[{"a": 2, "b": 1}, [1]]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON)
def test_every_value_is_the_same_as_itself_and_sameness_goes_both_ways(one: Any, other: Any) -> None:
    assert same(one, one)
    assert same(one, other) is same(other, one)


@settings(max_examples=10, deadline=None)
@given(JSON)
def test_code_that_returns_the_tests_own_values_passes(value: Any) -> None:
    key = json.dumps({"function": "f", "inputs": [[1]], "outputs": [value]})
    assert answer_is_correct(f"```python\ndef f(x):\n    return {value!r}\n```", key)
    assert not answer_is_correct("```python\ndef f(x):\n    return [x, 'another', value]\n```", key)


@given(st.text(max_size=80))
def test_no_text_breaks_the_check(text: str) -> None:
    try:
        prepared(text, "f")
    except RefusedCodeError:
        return
    pytest.fail("a random text defines no f")
