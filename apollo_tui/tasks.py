"""Task files: a folder of ours, and a bare prompt.

NAME/task.toml          what it is and what limits it
NAME/description.md     what the agent reads
NAME/workspace/         copied into each rollout's workspace
NAME/evaluation/        scores a workspace; the agent never sees it
NAME/hint.md            shown only when the agent asks for it
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from apollo_tui.config.read import line_of, read_toml
from apollo_tui.errors import ConfigError, TaskError, UnknownName
from apollo_tui.log.types import Evaluation, Mount, Task
from apollo_tui.paths import data_dir

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(value: Any) -> Any:
    """A duration: a number of seconds, or "45s", "30m", "2h"."""
    if isinstance(value, str) and (found := re.fullmatch(r"\s*([\d.]+)\s*([smh])\s*", value)):
        return float(found.group(1)) * _UNITS[found.group(2)]
    return value


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EvaluationTable(_Table):
    command: str = Field(min_length=1)
    timeout: float = Field(default=300.0, gt=0)
    submissions: int = Field(default=3, ge=0)

    _timeout = field_validator("timeout", mode="before")(_seconds)


class TaskTable(_Table):
    """What `task.toml` may say. Durations are seconds, or texts such as "30m" and "2h"."""

    name: str = Field(min_length=1, max_length=80)
    category: str = ""
    title: str = ""
    time_limit: float | None = Field(default=None, gt=0)
    step_limit: int | None = Field(default=None, gt=0)
    tools: tuple[str, ...] | None = None
    actions_per_step: int = Field(default=1, ge=1, le=32)
    image: str | None = None
    network: bool = False
    gpus: int = Field(default=0, ge=0)
    mounts: tuple[Mount, ...] = ()
    evaluation: EvaluationTable | None = None

    _time_limit = field_validator("time_limit", mode="before")(_seconds)


def bundled_folder() -> Path:
    return data_dir() / "tasks"


def bundled_tasks() -> list[Task]:
    """The tasks that ship with the program, by name."""
    return [
        read_folder(folder)
        for folder in sorted(bundled_folder().iterdir())
        if (folder / "task.toml").is_file()
    ]


def load_task(given: str) -> Task:
    """A task by the name of a bundled one, or by its folder.

    Raises UnknownName, or TaskError naming the file and the field.
    """
    path = Path(given).expanduser()
    if (path / "task.toml").is_file():
        return read_folder(path.absolute())
    if re.fullmatch(r"[\w.-]+", given) and (bundled_folder() / given / "task.toml").is_file():
        return read_folder(bundled_folder() / given)
    if path.is_dir():
        raise TaskError(f"{path} is no task: it has no task.toml")
    if path.suffix in (".yaml", ".yml") and path.is_file():
        raise TaskError(f"{path} is an InnovatorBench task; these cannot be read yet")
    names = [folder.name for folder in sorted(bundled_folder().iterdir()) if folder.is_dir()]
    near = difflib.get_close_matches(given, names, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UnknownName(
        f"there is no task {given!r}{hint} Bundled: {', '.join(names)}; or give a task's folder"
    )


def bare_task(prompt: str, workspace: str | None) -> Task:
    """A task that is only a prompt, and a folder to begin from."""
    if workspace is not None and not Path(workspace).is_dir():
        raise TaskError(f"the workspace {workspace} is no folder")
    words = re.findall(r"\w+", prompt.lower())[:4]
    return Task(
        name="-".join(words)[:40] or "task",
        title=prompt.splitlines()[0][:80] if prompt.strip() else "",
        description=prompt,
        workspace=workspace,
    )


def read_folder(folder: Path) -> Task:
    """Raises TaskError: one line with the file and the field."""
    path = folder / "task.toml"
    try:
        text, data = read_toml(path)
    except ConfigError as error:
        raise TaskError(error.line) from error
    try:
        table = TaskTable.model_validate(data)
    except ValidationError as error:
        raise TaskError(_fault(path, text, error)) from error
    hint = folder / "hint.md"
    return Task(
        **table.model_dump(exclude={"evaluation", "mounts"}),
        mounts=table.mounts,
        description=_read(folder / "description.md"),
        source=str(folder),
        workspace=str(folder / "workspace") if (folder / "workspace").is_dir() else None,
        hint=_read(hint) if hint.exists() else None,
        evaluation=_evaluation(folder, table.evaluation),
    )


def _evaluation(folder: Path, table: EvaluationTable | None) -> Evaluation | None:
    if table is None:
        return None
    if not (folder / "evaluation").is_dir():
        raise TaskError(
            f"{folder / 'task.toml'} has an evaluation, but {folder}/evaluation is missing"
        )
    return Evaluation(folder=str(folder / "evaluation"), **table.model_dump())


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise TaskError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TaskError(f"cannot read {path}: {why}") from error
    if not text.strip():
        raise TaskError(f"{path} is empty")
    return text


def _fault(path: Path, text: str, error: ValidationError) -> str:
    fault = error.errors()[0]
    field = ".".join(str(part) for part in fault["loc"])
    place = f"{path} line {line_of(text, fault['loc'])}"
    if fault["type"] == "extra_forbidden":
        known = list(EvaluationTable.model_fields if "." in field else TaskTable.model_fields)
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, 1)
        return f"{place}: there is no field {field}" + (
            f"; did you mean {near[0]}?" if near else ""
        )
    if fault["type"] == "missing":
        return f"{place}: the field {field} is missing"
    return f"{place}: {field}: {fault['msg'].lower()}, is {fault['input']!r}"
