"""What all trainers have in common: which formats they read, and how they say no."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from apollo_tui.errors import ExportError
from apollo_tui.filter.export import Row
from apollo_tui.filter.export.tally import Tally
from apollo_tui.filter.export.unchecked import UNCHECKED
from apollo_tui.paths import data_dir

LONGEST = 32_768
"""The longest row, in tokens, that the files made here allow: a longer one is an error, not cut."""


class Trainer(ABC):
    """One trainer. `reasons` counts what `adapt` left out since `check` began an export."""

    name: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    """The formats that it honours."""

    refuses: ClassVar[Mapping[str, str]] = {}
    """What would be wrong, for formats that it would read and train wrongly; `{masked}` stands for
    the masked replies that would train, "" when there are none."""

    shows_with_the_tokenizers_template: ClassVar[bool] = False
    """Whether it renders messages with the template of MODEL's tokenizer, whatever that hides."""
    takes_thinking: ClassVar[bool] = True

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()

    def check(self, format: str, tally: Tally) -> None:
        """Begin an export. Raises ExportError when this trainer would train it wrongly, or can't read
        it, with the count and what to do."""
        self.reasons.clear()
        if format in self.reads:
            return
        wrong = self.refuses.get(format, f"{format} is not written for {self.name}")
        why = wrong.format(masked=_masked(tally))
        raise ExportError(f"{why}: use --format {' | '.join(self.reads)}")

    def check_notes(self, notes: Counter[str]) -> None:
        """Once all rows are known. Raises ExportError when this trainer would show replies otherwise
        than they were said, with the count and what to do; takes out what does not concern it."""
        if not self.takes_thinking:
            notes.pop(UNCHECKED, None)
        count = notes[UNCHECKED]
        if self.shows_with_the_tokenizers_template and count:
            samples = "1 sample" if count == 1 else f"{count:,} samples"
            raise ExportError(
                f"{self.name} renders with the model's own template, and {samples} would train replies "
                "whose thinking templates hide after a later message to the model: add --template, the "
                "model's folder, or use --format tokens"
            )

    def adapt(self, format: str, row: Row) -> Row | None:
        """The row as this trainer reads it; None when it can't, which is counted in `reasons`. The
        given row is not changed."""
        return row

    def files(self, format: str, model: str) -> dict[str, str]:
        """Files to put beside the rows: their names and texts. `model` is where the trained model goes,
        seen from the rows' folder: outside of it, because replacing an export removes that folder.
        Raises ExportError when a file that ships with the program is missing."""
        return {}

    @abstractmethod
    def loading(self, format: str, model: str) -> str:
        """Markdown: how to train on this export, from inside its folder, into `model`."""


def shim(file: str) -> dict[str, str]:
    """A loader that ships with the program, by its name. Raises ExportError when it is missing."""
    path = data_dir() / "shims" / file
    try:
        return {file: path.read_text(encoding="utf-8")}
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}; reinstall apollo-tui") from error


def thought(message: Mapping[str, Any]) -> str:
    """A reply's thinking; "" when it has none."""
    return message.get("reasoning_content") or ""


def _masked(tally: Tally) -> str:
    count = tally.masked_replies
    return f"{count:,} masked {'reply' if count == 1 else 'replies'}, and " if count else ""
