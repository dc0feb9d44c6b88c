"""What most templates hide that show thinking at all: that of replies before the last message to the model.

Without a template nothing tells how a trainer will show a row. What is known is where it matters: a reply
trains, and a later message to the model would hide thinking that its prompt, or the reply itself, had.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from apollo_tui.filter.export.chat_messages import ChatMessage

UNCHECKED = (
    "samples that train replies whose thinking templates hide after a later message to the model; "
    "without --template or --tokenizer it was not checked how they are shown"
)


def hides_thinking(messages: Sequence[ChatMessage], training: Collection[int]) -> bool:
    """Whether a template that shows thinking only after the last user message would show a reply that
    trains otherwise than it was said, or after another prompt. `training` are indexes in `messages`."""
    thought = trains = False  # since the last message to the model
    for place, message in enumerate(messages):
        if message["role"] == "user":
            if trains:
                return True
            thought = False
        elif message["role"] == "assistant":
            thought = thought or "reasoning_content" in message
            trains = trains or (thought and place in training)
    return False
