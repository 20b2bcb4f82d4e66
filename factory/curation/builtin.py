"""Organic text that every Python installation brings along: enough to run the whole factory offline.

Rendered documentation stands for web pages, the standard library's sources for code, the language reference and docstrings
for licensed acquisitions. A source's version is the Python version and the digests of the files behind it.
"""

import json
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factory.curation import introspection
from factory.curation.config import SourceConfig
from factory.curation.files import Entry, LocalFolder, chosen, version_of
from factory.curation.readers import RawDocument, read_entry
from factory.curation.rows import Rejected
from factory.digest import json_digest
from factory.errors import SeedmillError

MODULES = """
abc argparse array ast asyncio asyncio.events asyncio.futures asyncio.locks asyncio.queues asyncio.streams
asyncio.subprocess asyncio.tasks atexit base64 bdb binascii bisect builtins bz2 cProfile calendar cmath cmd code codecs codeop
collections collections.abc colorsys compileall concurrent.futures concurrent.futures.process concurrent.futures.thread
configparser contextlib contextvars copy copyreg csv ctypes ctypes.util dataclasses datetime dbm dbm.dumb decimal difflib dis
doctest email.charset email.contentmanager email.encoders email.generator email.header email.headerregistry email.message
email.mime.multipart email.mime.text email.parser email.policy email.utils enum errno faulthandler fcntl filecmp
fileinput fnmatch fractions ftplib functools gc genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html
html.entities html.parser http http.client http.cookiejar http.cookies http.server imaplib importlib importlib.abc
importlib.machinery importlib.metadata importlib.resources importlib.util inspect io ipaddress itertools json json.decoder
json.encoder json.scanner keyword linecache locale logging logging.config logging.handlers lzma mailbox marshal math
mimetypes mmap modulefinder multiprocessing.connection multiprocessing.context multiprocessing.managers multiprocessing.pool
multiprocessing.queues multiprocessing.shared_memory multiprocessing.synchronize netrc numbers opcode operator optparse os
pathlib pdb pickle pickletools pkgutil platform plistlib poplib posixpath pprint profile pstats pty pwd py_compile pyclbr
pydoc queue quopri random re reprlib resource runpy sched secrets select selectors shelve shlex shutil signal smtplib socket
socketserver sqlite3 sqlite3.dbapi2 ssl stat statistics string stringprep struct subprocess symtable sysconfig syslog tabnanny
tarfile tempfile termios textwrap threading timeit token tokenize tomllib trace traceback tracemalloc tty types typing
unicodedata unittest unittest.async_case unittest.case unittest.loader unittest.mock unittest.result unittest.runner
unittest.suite urllib.error urllib.parse urllib.request urllib.response urllib.robotparser uuid warnings wave weakref
webbrowser wsgiref.handlers wsgiref.headers wsgiref.simple_server wsgiref.util wsgiref.validate xml.dom xml.dom.expatbuilder
xml.dom.minidom xml.dom.pulldom xml.etree.ElementTree xml.parsers.expat xml.sax xml.sax.expatreader xml.sax.handler
xml.sax.saxutils xml.sax.xmlreader xmlrpc.client xmlrpc.server zipapp zipfile zipimport zlib zoneinfo
"""
"""Modules that can be imported anywhere without a window, a sound or a side effect."""

# Debian's library holds links to what the machine's administrator sets: they are no part of Python.
LIBRARY = LocalFolder(Path(sysconfig.get_path("stdlib")), nested=False, links=False)


def sources() -> list[Entry]:
    """The top-level modules of the standard library as files, but for the one that records how this Python was built."""
    return [e for e in chosen(LIBRARY.list(), ("*.py",)) if not e.path.startswith("_sysconfigdata")]


def builtin_version(source: SourceConfig) -> str:
    """The version of a built-in source: that of Python, and of the text behind it."""
    if source.kind == "language_reference":
        return json_digest([platform.python_version(), _topics()])[:16]
    return version_of(sources(), source.kind, platform.python_version())


def builtin_documents(source: SourceConfig) -> Iterator[RawDocument | Rejected]:
    """The documents of a built-in source, in a fixed order."""
    if source.kind == "stdlib_code":
        for entry in chosen(sources(), source.include):
            yield from read_entry(LIBRARY, entry, source)
    elif source.kind == "language_reference":
        yield from (RawDocument(name, "text", text) for name, text in sorted(_topics().items()))
    else:
        yield from _introspected(source.kind)


def _topics() -> dict[str, str]:
    from pydoc_data import topics

    return topics.topics


def _introspected(kind: str) -> Iterator[RawDocument | Rejected]:
    """Rendered in a clean process of its own with a fixed hash seed: the order of a set would show in a page."""
    command = [sys.executable, "-S", "-P", "-B", str(introspection.__file__), kind]
    environment = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "COLUMNS": "80", "HOME": "/nonexistent"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(MODULES)
        child.stdin.close()
        try:
            yield from (_document(kind, json.loads(line)) for line in child.stdout)
        except GeneratorExit:
            child.kill()
            raise
        problem = child.stderr.read()
    if child.returncode:
        raise SeedmillError(f"rendering {kind} failed with status {child.returncode}: {problem.strip()[-300:]}")


def _document(kind: str, row: dict[str, Any]) -> RawDocument | Rejected:
    if row.get("missing"):
        return Rejected(row["locator"], "not_installed")
    return RawDocument(row["locator"], "html" if kind == "pydoc_html" else "text", row["text"])
