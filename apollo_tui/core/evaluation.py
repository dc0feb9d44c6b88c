"""Scoring a workspace: in a sandbox of its own, on a copy, with what the agent must not see."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apollo_tui.errors import SandboxError
from apollo_tui.log.types import Evaluation, Mount
from apollo_tui.sandbox import Job, Sandbox, SandboxSpec

INSIDE = "/evaluation"


@dataclass(frozen=True)
class Score:
    """What an evaluation came to. `score` (0 to 100) is None when the evaluation itself failed,
    and `error` then says how."""

    score: float | None
    results: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    output: str = ""


async def evaluate(
    evaluation: Evaluation,
    workspace: Path,
    folder: Path,
    open_sandbox: Callable[[SandboxSpec], Sandbox],
    spec: SandboxSpec,
) -> Score:
    """Copy `workspace` and the evaluation into `folder`, and run the evaluation's command there.

    The command runs in the evaluation's folder; $WORKSPACE names the copy. The last line it
    prints is a JSON object with `score` and, if it likes, `results`.
    """
    sandbox = open_sandbox(spec)
    try:
        await sandbox.close(remove=True)  # one that a core left when it died in the middle
        await asyncio.to_thread(_copy, evaluation, workspace, folder)
        await sandbox.start()
        inside = INSIDE if sandbox.isolated else str(folder / "evaluation")
        job = Job(
            id="evaluation",
            script=f"cd {inside} && {evaluation.command}",
            timeout=evaluation.timeout,
            environment={"WORKSPACE": sandbox.workspace_path},
        )
        await sandbox.launch(job)
        outcome = await sandbox.wait(job.id)
        size = 1 << 20
        output = (await sandbox.output(job.id, max(0, outcome.kept_bytes - size), size)).decode(
            errors="replace"
        )
    except SandboxError as error:
        return Score(None, error=f"the evaluation could not run: {error.line}")
    finally:
        await sandbox.close(remove=True)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if outcome.ended == "timeout":
        return Score(None, error=f"took more than {evaluation.timeout:g} s", output=output)
    if outcome.ended != "exited" or outcome.exit_code != 0:
        how = outcome.error or f"{outcome.ended}, exit code {outcome.exit_code}"
        return Score(None, error=f"{how}: {_last_line(output)}", output=output)
    return read_score(output)


def evaluation_spec(spec: SandboxSpec, folder: Path, submission: int) -> SandboxSpec:
    """The sandbox of one evaluation: like the agent's, without its mounts and its network."""
    return SandboxSpec(
        name=f"{spec.name}-eval{submission}",
        rollout=spec.rollout,
        folder=folder,
        image=spec.image,
        mounts=(Mount(host=str(folder / "evaluation"), inside=INSIDE),),
        memory=spec.memory,
        processes=spec.processes,
        cpus=spec.cpus,
    )


def read_score(output: str) -> Score:
    """The score from an evaluation's output: a JSON object on its last line."""
    last = _last_line(output)
    try:
        said = json.loads(last)
        score = float(said["score"])
        results = dict(said.get("results") or {})
    except (ValueError, TypeError, KeyError):
        return Score(None, error=f"its last line is no score: {last[:200]!r}", output=output)
    if not math.isfinite(score):
        return Score(None, error=f"the score is not a finite number: {last[:200]}", output=output)
    return Score(min(100.0, max(0.0, score)), results, output=output)


def _last_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "(no output)"


def _copy(evaluation: Evaluation, workspace: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    copy_tree(workspace, folder / "workspace")
    copy_tree(Path(evaluation.folder), folder / "evaluation")


def copy_tree(source: Path, target: Path) -> None:
    """Copy folders, regular files and links (as links); leave out sockets, pipes and devices.

    The copy can be read by the job's user whatever the source's permissions are.
    """

    def special(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if not _ordinary(Path(folder, name))]

    shutil.copytree(source, target, symlinks=True, ignore=special, dirs_exist_ok=True)
    for folder, folders, files in os.walk(target):
        for name in (*folders, *files):
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    target.chmod(0o755)


def _ordinary(path: Path) -> bool:
    return path.is_symlink() or path.is_dir() or path.is_file()
