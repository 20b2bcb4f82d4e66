"""What of a model's code may run: more of Python than `factory.synthesis.validate` lets a teacher write, and nothing that reaches out.

A solution may have helper functions, imports from a short list, comprehensions, f-strings, `try` and powers. What makes Python
unsafe stays out: attributes are named ones of plain values and of the listed modules (no underscore, no `format`, whose fields
are attributes too), there is no `getattr`, `type`, `open` or `eval`, no class, no `with` and no `match` (its patterns read attributes).
Time and memory need no rule here: the process has hard limits on both.
"""

import ast
from dataclasses import dataclass

from factory.synthesis.validate import BUILTINS as TEACHERS_BUILTINS
from factory.synthesis.validate import METHODS as TEACHERS_METHODS
from factory.synthesis.validate import RefusedCodeError

LONGEST = 10_000
_BUILTINS = """
    bin bytes chr complex divmod filter frozenset hex isinstance iter map next oct ord pow print repr slice
    ArithmeticError AssertionError AttributeError Exception KeyError LookupError NameError OverflowError RecursionError RuntimeError
    StopIteration ZeroDivisionError NotImplementedError
"""
_METHODS = """
    add appendleft as_integer_ratio bit_count bit_length casefold center clear conjugate copy difference discard elements end
    expandtabs extendleft fromkeys group groupdict groups hex imag intersection is_integer isdecimal isdisjoint isidentifier
    isnumeric issubset issuperset istitle isupper islower ljust maketrans most_common numerator denominator popitem popleft real
    remove removeprefix removesuffix rindex rjust rotate rsplit setdefault span start subtract swapcase symmetric_difference
    translate union update zfill
"""
_MODULES = {
    "math": """acos acosh asin asinh atan atan2 atanh ceil comb copysign cos cosh degrees dist e erf erfc exp expm1 fabs factorial
        floor fmod fsum gamma gcd hypot inf isclose isfinite isinf isnan isqrt lcm lgamma log log10 log1p log2 modf nan perm pi pow
        prod radians remainder sin sinh sqrt tan tanh tau trunc""",
    "itertools": """accumulate chain combinations combinations_with_replacement compress count cycle dropwhile filterfalse groupby
        islice pairwise permutations product repeat starmap takewhile tee zip_longest""",
    "functools": "cache cmp_to_key lru_cache partial reduce",
    "collections": "Counter OrderedDict defaultdict deque",
    "heapq": "heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest",
    "bisect": "bisect bisect_left bisect_right insort insort_left insort_right",
    "re": "compile findall finditer fullmatch match search split sub IGNORECASE MULTILINE DOTALL",
    "string": "ascii_letters ascii_lowercase ascii_uppercase digits hexdigits punctuation whitespace",
    "typing": "Any Callable Deque Dict FrozenSet Generator Iterable Iterator List Mapping Optional Sequence Set Tuple Union",
}
MODULES = {name: frozenset(names.split()) for name, names in _MODULES.items()}
BUILTINS = TEACHERS_BUILTINS | frozenset(_BUILTINS.split())
ATTRIBUTES = TEACHERS_METHODS | frozenset(_METHODS.split()) | frozenset[str]().union(*MODULES.values()) | {"from_iterable"}
_NODES = (
    *(ast.Module, ast.FunctionDef, ast.Lambda, ast.arguments, ast.arg, ast.Return, ast.Yield, ast.YieldFrom, ast.Nonlocal, ast.Pass),
    *(ast.Import, ast.ImportFrom, ast.alias, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr, ast.Delete, ast.Expr),
    *(ast.For, ast.While, ast.If, ast.Break, ast.Continue, ast.IfExp, ast.Try, ast.ExceptHandler, ast.Raise, ast.Assert),
    *(ast.Call, ast.keyword, ast.Starred, ast.Attribute, ast.Subscript, ast.Slice, ast.Name, ast.Constant, ast.expr_context),
    *(ast.List, ast.Tuple, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension),
    *(ast.JoinedStr, ast.FormattedValue, ast.BoolOp, ast.boolop, ast.UnaryOp, ast.unaryop, ast.Compare, ast.cmpop, ast.BinOp),
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.LShift, ast.RShift, ast.BitAnd, ast.BitOr, ast.BitXor),
)


@dataclass(frozen=True)
class Solution:
    """Code that was checked, and what it imports: names of `MODULES`."""

    source: str
    imports: frozenset[str]


def prepared(source: str, name: str) -> Solution:
    """The part of a text of code that defines `name`, without annotations; calls of itself at its end (tests, prints) do not run.

    Raises `RefusedCodeError` where anything in it may not run.
    """
    if len(source) > LONGEST:
        raise RefusedCodeError(f"{len(source)} characters, at most {LONGEST}")
    try:
        tree = _Unannotated().visit(ast.parse(source))
        tree.body = [node for node in tree.body if not isinstance(node, ast.Expr | ast.If | ast.Assert)]
        _check(tree, name)
        return Solution(ast.unparse(ast.fix_missing_locations(tree)), _imports(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RefusedCodeError(f"not Python that may run: {error}") from None


class _Unannotated(ast.NodeTransformer):
    """Annotations are never evaluated, so they need no check."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # the name that ast.NodeTransformer asks for
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(ast.copy_location(ast.Assign([node.target], node.value), node))


def _check(tree: ast.Module, name: str) -> None:
    if not any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body):
        raise RefusedCodeError(f"no function called {name}")
    if not all(isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom | ast.Assign) for node in tree.body):
        raise RefusedCodeError("more than functions, imports and constants")
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise RefusedCodeError(type(node).__name__)
        _check_names(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            _check_import(node)


def _check_names(node: ast.AST) -> None:
    """No name that a node gives or uses begins with an underscore (apart from `_` alone), and no attribute is unknown."""
    if isinstance(node, ast.Attribute) and node.attr not in ATTRIBUTES:
        raise RefusedCodeError(f"attribute {node.attr}")
    fields = (getattr(node, field, None) for field in ("id", "name", "asname", "arg", "names", "module"))
    for found in fields:
        for name in found if isinstance(found, list) else [found]:
            if isinstance(name, str) and name.startswith("_") and name.strip("_"):
                raise RefusedCodeError(f"name {name}")


def _imports(tree: ast.Module) -> frozenset[str]:
    named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return frozenset([*named, *(node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))])


def _check_import(node: ast.Import | ast.ImportFrom) -> None:
    if isinstance(node, ast.Import):
        refused = [alias.name for alias in node.names if alias.name not in MODULES]
    else:
        known = MODULES.get(node.module or "", frozenset()) if not node.level else frozenset[str]()
        refused = [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in known]
    if refused:
        raise RefusedCodeError(f"import of {refused[0]}")
