"""LaTeX as text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apollo_tui.parsing import Unreadable
from apollo_tui.parsing.latex import FILES_AT_MOST, Include, latex_text

PAPER = rb"""\documentclass{article}
\title{On learning} \author{A. B.}
\begin{document}
\maketitle
\section{Method} \label{sec:m}
We show $x^2 \le \alpha$ as in~\cite[p.~3]{knuth,lamport}, Eq.~\eqref{eq:1}. % a comment
\begin{equation} E = mc^2 \end{equation}
\begin{tabular}{lr} Model & Acc \\ A & 0.9 \\ \end{tabular}
\begin{itemize} \item one \item \emph{two} \end{itemize}
\begin{lstlisting}[language=Python]
x = a & b  % not a comment
\end{lstlisting}
\includegraphics[width=3cm]{fig.pdf} \href{http://x.org}{a link}
\end{document}
"""


def folder(files: dict[str, bytes]) -> Include:
    def read(path: str) -> bytes:
        if path not in files:
            raise Unreadable("does not exist")
        return files[path]

    return read


def test_commands_become_text_and_formulas_stay() -> None:
    parsed = latex_text(PAPER)
    for said in (
        "# On learning",
        "A. B.",
        "§ METHOD",
        r"We show $x^2 \le \alpha$ as in [cite: knuth,lamport], Eq. [ref: eq:1].",
        r"\begin{equation} E = mc^2 \end{equation}",
        "Model  |  Acc",
        "* one\n  * two",
        "x = a & b  % not a comment",
        "[figure: fig.pdf] a link <http://x.org>",
    ):
        assert said in parsed.text
    for gone in ("a comment", "documentclass", "emph", "maketitle"):
        assert gone not in parsed.text.replace("not a comment", "")
    assert (parsed.size, parsed.notes) == ("1 file", ())


def test_what_it_includes_is_looked_up_beside_it() -> None:
    files = {"p/one.tex": rb"One, \input{sec/two.tex}", "p/sec/two.tex": b"two,", "three.tex": b"3"}
    parsed = latex_text(rb"\input{one} \include{../three}.", "p/main.tex", folder(files))
    assert parsed.text == "One, two, 3."
    assert (parsed.size, parsed.notes) == ("4 files", ())


def test_what_cannot_be_included_is_named() -> None:
    parsed = latex_text(rb"a \input{gone} b", "main.tex", folder({}))
    assert parsed.text == "a [gone] b"
    assert parsed.notes == ("gone was not included: does not exist",)
    assert latex_text(rb"\input{x}").notes == ("x was not included: there is no folder to look in",)


def test_loops_and_avalanches_end() -> None:
    loop = folder({"a.tex": rb"a \input{b}", "b.tex": rb"b \input{a}"})
    parsed = latex_text(rb"\input{a}", "main.tex", loop)
    assert parsed.text == "a b [a]"
    assert "a was not included: a.tex: it includes itself" in parsed.notes
    doubling = {f"{n}.tex": rb"\input{%d}\input{%d}." % (n + 1, n + 1) for n in range(12)}
    parsed = latex_text(rb"\input{0}", "main.tex", folder(doubling))
    assert parsed.size == f"{FILES_AT_MOST} files"
    assert any("more than 500 files" in note for note in parsed.notes)
    big = folder({"big.tex": b"x" * 10_000_000})
    parsed = latex_text(rb"a \input{big}", "main.tex", big)
    assert any("includes more than 10,000,000 bytes" in note for note in parsed.notes)


def test_what_is_not_utf_8_is_read_and_told() -> None:
    parsed = latex_text("café".encode("latin-1"), "a.tex")
    assert parsed.text == "café"
    assert parsed.notes == ("a.tex is not UTF-8 and was read as Latin-1",)


def test_what_is_nested_too_deeply_says_so() -> None:
    with pytest.raises(Unreadable, match="nested too deeply"):
        latex_text(b"{" * 2_000)


pieces = st.sampled_from(
    [
        *"\\{}[]$&%~ #_^\n",
        r"\begin{",
        r"\end{",
        "a}",
        r"\cite",
        r"\input{a}",
        r"\href{",
        r"\item",
        r"\section*",
        r"\[",
        r"\]",
        "verbatim}",
        "tabular}",
        "équation",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(pieces, max_size=30).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parsed = latex_text(text.encode(), "main.tex", folder({"a.tex": b"a"}))
    except Unreadable as why:
        assert str(why)
    else:
        assert isinstance(parsed.text, str)
