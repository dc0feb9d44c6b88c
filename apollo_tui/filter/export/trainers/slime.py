"""slime: honours `step_loss_mask` where it renders messages itself, which it does for Qwen only; for other
models it takes tokens through a rollout function."""

from __future__ import annotations

from apollo_tui.filter.export import Row
from apollo_tui.filter.export.trainers.trainer import Trainer, shim

_SFT = (
    "--loss-type sft_loss --calculate-per-token-loss --disable-compute-advantages-and-returns "
    "--debug-train-only"
)


class Slime(Trainer):
    name = "slime"
    reads = ("tokens", "chat")

    def adapt(self, format: str, row: Row) -> Row | None:
        """slime's data set keeps a prompt and `metadata` of a row, and nothing else."""
        if format == "chat":
            return row
        tokens = {name: row[name] for name in ("input_ids", "labels")}
        return {"prompt": "", "metadata": tokens, "meta": row["meta"]}

    def files(self, format: str, model: str) -> dict[str, str]:
        return shim("slime_tokens.py") if format == "tokens" else {}

    def loading(self, format: str, model: str) -> str:
        if format == "tokens":
            return (
                "Put this folder on the `PYTHONPATH` of the Ray job, and to slime's arguments for your "
                "model add\n\n"
                "```\n--prompt-data tokens.jsonl --input-key prompt --metadata-key metadata "
                f"--rollout-function-path slime_tokens.generate_rollout {_SFT}\n```\n\n"
                "The checkpoint must have the tokenizer that the tokens were made with.\n"
            )
        return (
            "To slime's arguments for your model add\n\n"
            "```\n--prompt-data chat.jsonl --input-key messages --tool-key tools "
            "--rollout-function-path slime.rollout.sft_rollout.generate_rollout "
            f"--loss-mask-type qwen3 {_SFT}\n```\n\n"
            "`--loss-mask-type` is `qwen` or `qwen3`; there is none for GLM: use `--format tokens`. "
            "slime renders each message by itself, so a template that shows a message differently "
            "among others is not rendered as it was sent.\n"
        )
