"""LaTeX: the text without its commands; formulas stay as they are written.

What cannot be shown as text keeps a mark that names it: [cite: key], [ref: label], [figure: file].
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any

from pylatexenc.latex2text import (
    EnvironmentTextSpec,
    LatexNodes2Text,
    MacroTextSpec,
    SpecialsTextSpec,
    get_default_latex_context_db,
)
from pylatexenc.latexwalker import LatexWalkerError
from pylatexenc.latexwalker import get_default_latex_context_db as walker_context
from pylatexenc.macrospec import EnvironmentSpec, MacroSpec, VerbatimArgsParser

from apollo_tui.parsing import TEXT_AT_MOST, Parsed, Unreadable, counted

FILES_AT_MOST = 500  # files
NESTED_AT_MOST = 12  # of one in another

Include = Callable[[str], bytes]
"""Reads another file beneath the same folder, by its path from there. Raises Unreadable."""

_CITES = ("cite", "citet", "citep", "citealt", "citealp", "citeauthor", "citeyear", "autocite",
          "textcite", "parencite", "nocite")  # fmt: skip
_REFS = ("ref", "eqref", "autoref", "cref", "Cref", "pageref")
_AS_IT_IS = ("verbatim", "lstlisting", "minted", "Verbatim", "tikzpicture")


def latex_text(data: bytes, path: str = "", include: Include | None = None) -> Parsed:
    """The text of a document. `path` is where it stands beneath the folder that `include` reads
    from: \\input and \\include are looked up beside it.

    Raises Unreadable for what is nested too deeply, or includes too much.
    """
    reader = _Reader(path, include)
    try:
        text = reader.text_of(data, path)
    except (RecursionError, LatexWalkerError) as error:
        raise Unreadable(f"it is broken or nested too deeply: {error}") from error
    # A space that may not be broken is one all the same, for whoever searches the text.
    lines = (line.rstrip() for line in text.replace("\xa0", " ").strip().split("\n"))
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    return Parsed(text, counted(reader.files, "file"), tuple(dict.fromkeys(reader.notes)))


class _Reader:
    """One document and all that it includes."""

    def __init__(self, path: str, include: Include | None) -> None:
        self.files = 0
        self.notes: list[str] = []
        self._folder = posixpath.dirname(path)
        self._include = include
        self._open: list[str] = []
        self._size = 0
        self._texts = _Texts(self._context(), math_mode="verbatim")
        self._walked = _walked()

    def text_of(self, data: bytes, path: str) -> str:
        if path in self._open or len(self._open) == NESTED_AT_MOST:
            why = "it includes itself" if path in self._open else "it is nested too deeply"
            raise Unreadable(f"{path}: {why}")
        self.files += 1
        self._size += len(data)
        if self._size > TEXT_AT_MOST:
            raise Unreadable(f"it includes more than {TEXT_AT_MOST:,} bytes")
        self._open.append(path)
        try:
            return str(
                self._texts.latex_to_text(self._decoded(data, path), latex_context=self._walked)
            )
        finally:
            self._open.pop()

    def _decoded(self, data: bytes, path: str) -> str:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            self.notes.append(f"{path or 'it'} is not UTF-8 and was read as Latin-1")
            return data.decode("latin-1")

    def _context(self) -> Any:
        context = get_default_latex_context_db()
        macros = [
            *(MacroTextSpec(name, simplify_repl=self._named("cite")) for name in _CITES),
            *(MacroTextSpec(name, simplify_repl=self._named("ref")) for name in _REFS),
            # Where they are written, not where \\maketitle stands, which would add today's date.
            MacroTextSpec("title", simplify_repl="\n# %s\n"),
            MacroTextSpec("author", simplify_repl="\n%s\n"),
            MacroTextSpec("date", simplify_repl="\n%s\n"),
            MacroTextSpec("maketitle", simplify_repl=""),
            MacroTextSpec("includegraphics", simplify_repl=self._named("figure")),
            MacroTextSpec("bibliography", simplify_repl=self._named("bibliography")),
            MacroTextSpec("input", simplify_repl=self._input),
            MacroTextSpec("include", simplify_repl=self._input),
            MacroTextSpec("subfile", simplify_repl=self._input),
        ]
        environments = [
            EnvironmentTextSpec(name, simplify_repl=lambda node: node.latex_verbatim())
            for name in _AS_IT_IS
        ]
        context.add_context_category(
            "apollo",
            macros=macros,
            environments=environments,
            specials=[SpecialsTextSpec("&", " | ")],
            prepend=True,
        )
        return context

    def _named(self, what: str) -> Callable[[Any], str]:
        return lambda node: f"[{what}: {_argument(node)}]"

    def _input(self, node: Any) -> str:
        name = _argument(node)
        try:
            path, data = self._found(name)
            return self.text_of(data, path)
        except Unreadable as why:
            self.notes.append(f"{name} was not included: {why}")
            return f"[{name}]"

    def _found(self, name: str) -> tuple[str, bytes]:
        if self._include is None:
            raise Unreadable("there is no folder to look in")
        if self.files == FILES_AT_MOST:
            raise Unreadable(f"there are more than {FILES_AT_MOST} files")
        path = posixpath.normpath(posixpath.join(self._folder, name))
        if posixpath.splitext(path)[1] != ".tex":
            try:
                return f"{path}.tex", self._include(f"{path}.tex")
            except Unreadable:
                if "." not in posixpath.basename(path):
                    raise
        return path, self._include(path)


class _Texts(LatexNodes2Text):  # type: ignore[misc]
    def macro_node_to_text(self, node: Any) -> str:
        """As pylatexenc does; a macro without the arguments it counts on stays as it is written."""
        try:
            return str(super().macro_node_to_text(node))
        except (AttributeError, IndexError, TypeError, ValueError):
            return str(node.latex_verbatim())


def _walked() -> Any:
    """How arguments are read where pylatexenc does not know them: else their text would be lost,
    and code would be read as LaTeX."""
    context = walker_context()
    macros = [
        *(MacroSpec(name, "*[[{") for name in _CITES),
        *(MacroSpec(name, "*{") for name in (*_REFS, "bibliography", "subfile")),
        MacroSpec("href", "{{"),
    ]
    environments = [
        EnvironmentSpec(name, args_parser=VerbatimArgsParser("verbatim-environment"))
        for name in _AS_IT_IS
    ]
    context.add_context_category("apollo", macros=macros, environments=environments, prepend=True)
    return context


def _argument(node: Any) -> str:
    """The last argument of a macro, as it is written."""
    given = [one for one in node.nodeargd.argnlist if one is not None] if node.nodeargd else []
    return given[-1].latex_verbatim().strip("{} \n") if given else ""
