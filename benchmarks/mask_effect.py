"""What a mask is for: a tiny model trained on a rollout does not learn the actions it covers.

Rollouts with rejected actions are written to a log and exported as `tokens` twice: as they are, and as
of before the marks. A two-layer model is trained from the same beginning on each. Measured is how far the
loss falls on the rejected spans, against spans of the same kind in rollouts that no model saw.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.logs import Turn, words, write_log
from benchmarks.program import apollo
from benchmarks.report import Report
from benchmarks.tiny_tokenizer import make_tokenizer

SEGMENT = 8  # steps of a row
LEARNED = 0.5
"""Nats: how much further than that of unseen spans the loss of rejected ones falls without masks, at least."""
MARGIN = 0.1
"""The share of that which may remain with masks: rejected and unseen spans are different random words."""

Row = tuple[list[int], list[int]]
"""Tokens and labels."""


@dataclass(frozen=True, slots=True)
class Spans:
    """A row's tokens, and which of its positions belong to rejected actions."""

    tokens: list[int]
    rejected: list[bool]


def measure(*, small: bool) -> Report:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise SystemExit(
            "mask-effect needs torch; scripts/proof.py makes an environment with it"
        ) from None
    rows, epochs = (3, 20) if small else (8, 60)
    with tempfile.TemporaryDirectory() as folder:
        masked, unmasked, rejected, unseen, size = _data(Path(folder), rows)
    report = Report(f"mask-effect: {rows} rows, {epochs} epochs, a two-layer model")
    learned = {}
    for name, trained in (("masks", masked), ("no masks", unmasked)):
        before, fall, fall_unseen = _falls(trained, rejected, unseen, epochs, size)
        learned[name] = fall - fall_unseen
        report.add(f"{name}: loss of the rejected spans before", f"{before:.2f} nats")
        report.add(f"{name}: its fall", f"{fall:.2f}")
        report.add(f"{name}: the fall of unseen spans", f"{fall_unseen:.2f}")
    with_masks, without = learned["masks"], learned["no masks"]
    report.add(
        "without masks they are learned", f"{without:+.2f}", f"≥ {LEARNED:g}", without >= LEARNED
    )
    allowed = MARGIN * without
    report.add(
        "with masks they are not", f"{with_masks:+.2f}", f"≤ {allowed:.2f}", with_masks <= allowed
    )
    return report


def _turns(count: int, seed: int) -> Iterator[Turn]:
    """Good and bad actions by turns, of the same kind of words: only a mask tells them apart."""
    chance = random.Random(seed)
    for number in range(count):
        yield Turn(
            thinking=words(chance, 6),
            command=f"run {words(chance, 8)}",
            observation=words(chance, 4),
            reject=number % 3 == 1,
        )


def _data(folder: Path, rows: int) -> tuple[list[Row], list[Row], list[Spans], list[Spans], int]:
    """Rows with masks, rows without; the rejected spans in them, and in rows nobody trains on."""
    home = folder / "home"
    home.mkdir(mode=0o700)
    unmarked = asyncio.run(
        write_log(
            home / "apollo.db",
            {"trained": _turns(rows * SEGMENT, 1), "unseen": _turns(rows * SEGMENT, 2)},
            segment=SEGMENT,
        )
    )
    tokenizer = folder / "tokenizer"
    size = make_tokenizer(tokenizer)

    def export(rollout: str, *more: str) -> list[Row]:
        out = folder / f"{rollout}{len(more)}"
        apollo(
            home,
            *("export", rollout, "--format", "tokens", "--tokenizer", str(tokenizer)),
            *("--out", str(out), *more),
        )
        (file,) = out.glob("*.jsonl")
        read = [json.loads(line) for line in file.read_text().splitlines()]
        return [(row["input_ids"], row["labels"]) for row in read]

    try:
        masked, unmasked = export("trained"), export("trained", "--as-of", str(unmarked))
        unseen = _rejected(export("unseen"), export("unseen", "--as-of", str(unmarked)))
    finally:
        apollo(home, "core", "stop")
    return masked, unmasked, _rejected(masked, unmasked), unseen, size


def _rejected(masked: list[Row], unmasked: list[Row]) -> list[Spans]:
    """What trains without masks and not with them. A row with masks ends with the last that trains."""
    spans = []
    for (tokens, labels), (all_tokens, all_labels) in zip(masked, unmasked, strict=True):
        assert all_tokens[: len(tokens)] == tokens, "both exports hold the same contexts"
        padded = [*labels, *[-100] * (len(all_tokens) - len(tokens))]
        only = [a == -100 != b for a, b in zip(padded, all_labels, strict=True)]
        spans.append(Spans(all_tokens, only))
    return spans


def _falls(
    rows: list[Row], rejected: list[Spans], unseen: list[Spans], epochs: int, size: int
) -> tuple[float, float, float]:
    """Loss on the rejected spans before training, how far it falls, and how far that of unseen ones."""
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(2)
    model = _model(size, max(len(one.tokens) for one in (*rejected, *unseen)))
    before, before_unseen = _loss(model, rejected), _loss(model, unseen)
    steps = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    for _ in range(epochs):
        for tokens, labels in rows:
            logits = model(torch.tensor([tokens]))[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[1:]))
            steps.zero_grad()
            loss.backward()
            steps.step()
    return before, before - _loss(model, rejected), before_unseen - _loss(model, unseen)


def _loss(model: Any, spans: list[Spans]) -> float:
    """Mean loss in nats over the rejected tokens."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for one in spans:
            logits = model(torch.tensor([one.tokens]))[0, :-1]
            losses = torch.nn.functional.cross_entropy(
                logits, torch.tensor(one.tokens[1:]), reduction="none"
            )
            chosen = losses[torch.tensor(one.rejected[1:])]
            total, count = total + float(chosen.sum()), count + len(chosen)
    return total / max(count, 1) if count else math.nan


def _model(size: int, longest: int) -> Any:
    """A causal transformer of two layers."""
    from torch import arange, nn

    layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True)
    parts = nn.ModuleDict(
        {
            "tokens": nn.Embedding(size, 128),
            "places": nn.Embedding(longest, 128),
            "layers": nn.TransformerEncoder(layer, 2),
            "head": nn.Linear(128, size),
        }
    )

    def forward(tokens: Any) -> Any:
        length = tokens.shape[1]
        hidden = parts["tokens"](tokens) + parts["places"](arange(length))
        causal = nn.Transformer.generate_square_subsequent_mask(length)
        return parts["head"](parts["layers"](hidden, mask=causal, is_causal=True))

    parts.forward = forward
    return parts
