"""Reads an export of `apollo-tui export --format tokens` in slime, mask and all.

slime renders messages itself only for a few families of models; this takes the tokens as exported.

    python train_async.py --prompt-data tokens.jsonl --input-key prompt --metadata-key metadata \
        --rollout-function-path slime_tokens.generate_rollout --loss-type sft_loss ...
"""

from __future__ import annotations

from typing import Any

MASKED = -100  # the label of a token that does not train


def generate_rollout(args: Any, rollout_id: int, data_buffer: Any, evaluation: bool = False) -> Any:
    """The next samples, as slime's own SFT rollout gives them: in groups of one, each with its tokens
    and the mask over what follows the prompt."""
    if evaluation:
        raise ValueError("an export has nothing to evaluate on; set no --eval-prompt-data")
    groups = data_buffer.get_samples(args.rollout_batch_size)
    for (sample,) in groups:
        tokens, labels = sample.metadata["input_ids"], sample.metadata["labels"]
        trains = [int(label != MASKED) for label in labels]
        # slime's response is all that stands after the prompt: from the first token that trains.
        start = trains.index(1)
        sample.tokens = tokens
        sample.response_length = len(tokens) - start
        sample.loss_mask = trains[start:]
        sample.reward = 0
    return groups
