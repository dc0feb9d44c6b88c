"""`turns`: one row for each kept reply, `{"prompt": [history], "completion": [the reply], "tools": […],
"meta": {…}}`. What trains is the completion and nothing else, whatever the trainer.

Every row holds all of the history before it: this grows with the square of a segment's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from apollo_tui.filter.export import Row
from apollo_tui.filter.export.rewritten import ONLY_TOKENS, only_for_tokens
from apollo_tui.filter.export.source import FilteredRollout


class Turns:
    name = "turns"

    def rows(self, rollout: FilteredRollout) -> Iterator[Row]:
        for one in rollout.samples():
            rollout.left_out(ONLY_TOKENS, only_for_tokens(one.masks))
            kept = [masked for masked in one.masks if masked.whole]
            if not kept:
                rollout.left_out("segments in which no reply trains")
                continue
            chat = rollout.chat(one.sample)
            for masked in kept:
                place = masked.position + chat.offset
                yield {
                    "prompt": chat.messages[:place],
                    "completion": [chat.messages[place]],
                    "tools": chat.tools,
                    "meta": rollout.meta(one.sample.segment, [masked], whole=True),
                }

    def bytes_of(self, rollout: FilteredRollout) -> int:
        """From the sizes of the stored messages, which are about those of the written ones."""
        total = 0
        for one in rollout.samples():
            sample = one.sample
            head = [ref for ref in (sample.system_ref, sample.tools_ref) if ref is not None]
            sizes = rollout.history.text_sizes([*head, *sample.messages])
            of_head = sum(sizes[ref] for ref in head)
            until = list(accumulate(sizes[ref] for ref in sample.messages))
            total += sum(of_head + until[masked.position] for masked in one.masks if masked.whole)
        return total
