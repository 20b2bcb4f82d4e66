r"""`extracted_documents`: from HTML, Markdown, plain text and code to normalised text.

resiliparse finds the main content and keeps code blocks and tables. It prints MathML as a jumble of its leaves and drops
TeX in script elements, so equations become TeX text (`$...$`, `$$...$$`) in the tree before it looks.
"""

import re
from collections.abc import Iterator

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import ElementNode, HTMLTree

from factory.context import Context
from factory.curation.config import ExtractConfig
from factory.records import Record, derive

CREATED_BY = "extracted_documents@1"
TEX_ANNOTATION = 'annotation[encoding="application/x-tex"]'
TOO_DEEP = ">".join(["*"] * 500)
TEX_SCRIPT = 'script[type^="math/tex"]'

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_LINE_END = re.compile(r"\r\n?|[\x0c\x85\u2028\u2029]")
_BLANK_LINES = re.compile(r"\n{4,}")


def run(context: Context) -> None:
    """Extract the text of every raw document into `documents`."""
    context.write_records("documents", _extracted(context, context.section(ExtractConfig)))


def _extracted(context: Context, config: ExtractConfig) -> Iterator[Record]:
    for name in sorted(context.inputs):
        for raw in context.inputs[name].records("documents"):
            text = text_of(raw["text"], raw["media"], main_content=config.main_content)
            if len(text) < config.min_characters:
                context.drop("no_text")
                continue
            context.keep()
            yield derive(raw, text=text, created_by=CREATED_BY)


def text_of(raw: str, media: str, *, main_content: bool = True) -> str:
    """The normalised text of a document in one of the media html, text, markdown and code."""
    if media == "html":
        return normalised(html_text(raw, main_content=main_content)).strip()
    return normalised(raw).strip("\n")


def html_text(html: str, *, main_content: bool = True) -> str:
    """The text of an HTML page with its equations in TeX, its code with line breaks and indentation, its tables row by row."""
    tree = HTMLTree.parse(html)
    _write_out_equations(tree)
    text = extract_plain_text(tree, main_content=main_content and not _too_deep(tree), preserve_formatting=True)
    return text.replace("\xa0", " ")


def _too_deep(tree: HTMLTree) -> bool:
    """Whether elements are nested so deeply that looking for the main content, which is quadratic in depth, would take minutes."""
    return tree.document is not None and tree.document.query_selector(TOO_DEEP) is not None


def _write_out_equations(tree: HTMLTree) -> None:
    document = tree.document
    if document is None:
        return
    for annotation in document.query_selector_all(TEX_ANNOTATION):
        equation = annotation.closest("math")
        if equation is not None:
            _replace(tree, equation, annotation.text or "", display=equation.getattr("display") == "block")
    for script in document.query_selector_all(TEX_SCRIPT):
        _replace(tree, script, script.text or "", display="mode=display" in (script.getattr("type") or ""))


def _replace(tree: HTMLTree, node: ElementNode, tex: str, *, display: bool) -> None:
    mark = "$$" if display else "$"
    text = tree.create_text_node(f"{mark}{tex.strip()}{mark}")
    if text is not None:
        node.replace_with(text)


def normalised(text: str) -> str:
    r"""Text with `\n` as its only line end, without NUL and other control characters, trailing white space and runs of blank lines."""
    text = _CONTROL.sub("", _LINE_END.sub("\n", text.removeprefix("\ufeff")))
    return _BLANK_LINES.sub("\n\n\n", "\n".join(line.rstrip(" \t\xa0") for line in text.split("\n")))
