"""A program of its own (only the standard library): documents that Python renders about itself.

`python -S -P introspection.py pydoc_html|docstrings` reads module names from standard input and writes a JSON line for each
document. It runs apart from the factory because rendering imports every module, and because what pydoc shows depends
on what else is loaded. Values that differ between machines (environment, paths, addresses) are not shown.
"""

import contextlib
import importlib
import inspect
import io
import json
import pydoc
import re
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

DOCUMENTED = (property, classmethod, staticmethod)
ADDRESS = re.compile(r"(&nbsp;| )at(&nbsp;| )0x[0-9a-fA-F]+")
PLACES = sorted({sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix}, key=len, reverse=True)


class Pages(pydoc.HTMLDoc):
    """pydoc's own renderer, without links to files and without values that belong to this machine."""

    def filelink(self, url: str, path: str) -> str:  # noqa: ARG002 (the names are pydoc's)
        """No link: it would show where Python is installed."""
        return ""

    def docother(self, object: Any, name: str | None = None, mod: str | None = None, *_: Any) -> str:  # noqa: ARG002 (the names are pydoc's)
        """A name and its value if that is a plain number, else its type."""
        plain = type(object) in (bool, int, float)
        shown = repr(object) if plain else f"{type(object).__name__} object"
        return f"<strong>{name}</strong> = {self.escape(shown)}" if name else self.escape(shown)


def anonymous(text: str) -> str:
    """The text without addresses of objects and without the place where this Python is installed."""
    for place in PLACES:
        text = text.replace(place, "python")
    return ADDRESS.sub("", text)


def page(module: ModuleType) -> Iterator[tuple[str, str]]:
    """The HTML page that pydoc renders for a module."""
    pages = Pages()
    html = pages.page(module.__name__, pages.document(module, module.__name__))
    yield f"{module.__name__}.html", anonymous(html)


def docstrings(module: ModuleType) -> Iterator[tuple[str, str]]:
    """The docstring of a module, and of every public class, method and function that it defines."""
    if text := inspect.getdoc(module):
        yield module.__name__, text
    for name, item in sorted(_public(module)):
        yield from _described(f"{module.__name__}.{name}", item)
        if inspect.isclass(item):
            for method in sorted(key for key in vars(item) if not key.startswith("_")):
                yield from _described(f"{module.__name__}.{name}.{method}", inspect.getattr_static(item, method))


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name, item in vars(module).items():
        own = getattr(item, "__module__", None) == module.__name__
        if own and not name.startswith("_") and (inspect.isclass(item) or inspect.isroutine(item)):
            yield name, item


def _described(name: str, item: Any) -> Iterator[tuple[str, str]]:
    text = getattr(item, "__doc__", None)
    # A constant's docstring is that of its type.
    if isinstance(text, str) and (inspect.isclass(item) or inspect.isroutine(item) or isinstance(item, DOCUMENTED)):
        yield name, f"{name}{_signature(item)}\n\n{inspect.cleandoc(text)}"


def _signature(item: Any) -> str:
    try:
        return anonymous(str(inspect.signature(item)))
    except (TypeError, ValueError):  # not callable, or a builtin that does not tell
        return ""


def main(kind: str) -> None:
    """Write `{"locator", "text"}` lines, or `{"locator", "missing"}` for a module that this Python was built without."""
    out, render = sys.stdout, {"pydoc_html": page, "docstrings": docstrings}[kind]
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        for name in sys.stdin.read().split():
            try:
                module = importlib.import_module(name)
            except ImportError:
                out.write(json.dumps({"locator": name, "missing": True}) + "\n")
                continue
            for locator, text in render(module):
                out.write(json.dumps({"locator": locator, "text": text}) + "\n")
            out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
