"""A model's tokenizer, from the folder it is published in.

The `tokenizers` library is an extra: whoever only exports messages needs none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apollo_tui.errors import ExportError

if TYPE_CHECKING:
    import tokenizers

INSTALL = "pip install 'apollo-tui[tokens]'"

Offsets = list[tuple[int, int]]
"""For each token the characters of the text it stands for: begin, and one after the end. Several
tokens may share one character; none stands for a character before those of the token before it."""


class Tokenizer:
    """Counts and encodes text as it stands: no special tokens are put around it, nothing is cut off
    or filled up. Special tokens that the text itself holds are single tokens."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        """How many tokens the text has."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))

    def encode(self, text: str) -> tuple[list[int], Offsets]:
        """The text's token ids, and which characters each token stands for. Other threads run
        meanwhile: the library lets go of the interpreter for a batch, and not for a single text."""
        (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
        return encoding.ids, encoding.offsets


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer whose `tokenizer.json` lies in the folder.

    Raises ExportError when the folder, the file or the library is missing, or the file is no tokenizer.
    """
    path = folder / "tokenizer.json"
    if not folder.is_dir():
        raise ExportError(f"no folder {folder}: a tokenizer is the folder with its tokenizer.json")
    if not path.is_file():
        raise ExportError(
            f"no tokenizer.json in {folder}: it is published beside a model's weights"
        )
    try:
        import tokenizers
    except ImportError:
        raise ExportError(f"counting tokens needs the tokenizers library: {INSTALL}") from None
    try:
        return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(_plain(path))))
    except Exception as error:  # the library raises no class of its own
        raise ExportError(f"{path} is not a tokenizer that can be read: {error}") from None


def _plain(path: Path) -> dict[str, Any]:
    """The tokenizer's definition without what is only for feeding models: cutting, filling up, special
    tokens around the text. Some post-processors also shorten the offsets by white space, and a mask
    needs them exact; none of them changes the tokens of the text itself."""
    defined = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(defined, dict):
        raise ValueError("it holds no JSON object")
    return {**defined, "post_processor": None, "truncation": None, "padding": None}
