"""A random two-layer model, and a tokenizer trained on the spot that can spell everything."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.proof.written import MASKED, PARTS, WHOLE

TEMPLATES = Path(__file__).parent.parent / "filter" / "templates"


SINGLE = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
]
"""What models with such templates spell as single tokens, so that no token spans two parts of a reply."""


def tokenizer_folder(
    path: Path, template: str, texts: Iterable[str] = (*WHOLE, *PARTS, *MASKED), size: int = 600
) -> Path:
    """A tokenizer of so many tokens as a model publishes it, trained on texts, with a template."""
    spelled = Tokenizer(models.BPE())
    spelled.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spelled.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SINGLE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    spelled.train_from_iterator(texts, trainer)
    published = PreTrainedTokenizerFast(
        tokenizer_object=spelled, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    published.chat_template = template
    published.save_pretrained(path)
    return path


def plain_template() -> str:
    return (TEMPLATES / "plain.jinja").read_text()


def published(folder: Path) -> Any:
    """The tokenizer as trainers load it."""
    return AutoTokenizer.from_pretrained(folder)


def model(tokenizer: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=65536,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
