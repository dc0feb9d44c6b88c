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
from collections.abc import Container
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from apollo_tui.config.read import line_of, read_toml
from apollo_tui.config.settings import HostPattern
from apollo_tui.errors import ConfigError, TaskError, UnknownName
from apollo_tui.log.types import Evaluation, Mount, Task
from apollo_tui.paths import data_dir

_UNITS = {"s": 1, "m": 60, "h": 3600}


def _seconds(value: Any) -> Any:
    """A duration: a number of seconds, or "45s", "30m", "2h"."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", str(value)):
        return float(found.group(1)) * _UNITS[found.group(2)]
    raise ValueError('must be seconds, or a text such as "45s", "30m" or "2h"')


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class EvaluationTable(_Table):
    command: str = Field(min_length=1)
    timeout: float = Field(default=300.0, gt=0)
    submissions: int = Field(default=3, ge=0)

    _timeout = field_validator("timeout", mode="before")(_seconds)


class TaskTable(_Table):
    """What `task.toml` may say. Durations are seconds, or texts such as "30m" and "2h"."""

    name: str = Field(min_length=1, max_length=80, pattern=r"\S")
    category: str = ""
    title: str = ""
    time_limit: float | None = Field(default=None, gt=0)
    step_limit: int | None = Field(default=None, gt=0)
    tools: tuple[str, ...] | None = None
    actions_per_step: int = Field(default=1, ge=1, le=32)
    image: str | None = None
    network: bool = False
    web_hosts: tuple[HostPattern, ...] = ()
    gpus: int = Field(default=0, ge=0)
    mounts: tuple[Mount, ...] = ()
    evaluation: EvaluationTable | None = None

    _time_limit = field_validator("time_limit", mode="before")(_seconds)


def bundled_tasks(data: Path | None = None) -> list[Task]:
    """The tasks that ship with the program (or those of another data folder), by name."""
    return [read_folder(folder) for folder in _bundled(data or data_dir()).values()]


def load_task(given: str, *, data: Path | None = None) -> Task:
    """A task by its folder, or by the name of one that ships (or lies in another data folder).

    Raises UnknownName, or TaskError naming the file and the field.
    """
    bundled = _bundled(data or data_dir())
    try:
        folder = _folder(given, bundled)
    except (OSError, RuntimeError) as error:  # no permission, a name too long, no such ~user
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise TaskError(f"cannot read the task {given[:200]}: {why}") from error
    if folder is not None or given in bundled:
        return read_folder(folder or bundled[given])
    near = difflib.get_close_matches(given, bundled, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownName(
        f"there is no task {given[:200]!r}; {hint}bundled are {', '.join(bundled) or 'none'}; "
        "or give a task's folder"
    )


def _folder(given: str, bundled: Container[str]) -> Path | None:
    """The task folder at this path; None when nothing lies there that could be one."""
    path = Path(given).expanduser().absolute()
    if (path / "task.toml").exists():
        return path
    if path.is_file():
        if path.name == "task.toml":
            return path.parent
        raise TaskError(_no_task_file(path))
    if path.is_dir() and given not in bundled:
        raise TaskError(f"{path} is no task: it has no task.toml")
    return None


def _bundled(data: Path) -> dict[str, Path]:
    folder = data / "tasks"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {task.name: task for task in found if (task / "task.toml").is_file()}


def _no_task_file(path: Path) -> str:
    if path.suffix in (".yaml", ".yml"):
        return f"{path} looks like an InnovatorBench task; this format is not supported yet"
    return f"{path} is no task; give the folder that holds its task.toml"


def faults_of(task: Task) -> list[str]:
    """What is wrong with a task that could be read, one line each: files it names that are
    missing, and an evaluation that the agent could see."""
    faults = [
        f"{task.name}: the mount {mount.host} does not exist"
        for mount in task.mounts
        if not Path(mount.host).exists()
    ]
    if task.workspace is not None:
        faults += _links_out(task.name, Path(task.workspace))
    if task.evaluation is not None:
        faults += _evaluation_faults(task.name, task.evaluation, task.workspace)
    return faults


def _links_out(name: str, workspace: Path) -> list[str]:
    """Links in a workspace that point outside: in the sandbox they lead nowhere."""
    root = workspace.resolve()
    return [
        f"{name}: workspace/{path.relative_to(workspace)} is a link to outside of the workspace"
        for path in sorted(workspace.rglob("*"))
        if path.is_symlink() and not path.resolve().is_relative_to(root)
    ]


def _evaluation_faults(name: str, evaluation: Evaluation, workspace: str | None) -> list[str]:
    folder = Path(evaluation.folder)
    named = re.findall(r"(?<![\w./$-])[\w][\w./-]*\.(?:py|sh)\b", evaluation.command)
    faults = [
        f"{name}: the evaluation's command names {file}, which is not in {folder}"
        for file in named
        if not (folder / file).is_file()
    ]
    if workspace is not None and folder.resolve().is_relative_to(Path(workspace).resolve()):
        faults.append(f"{name}: the evaluation is inside the workspace, where the agent sees it")
    return faults


def bare_task(prompt: str, workspace: str | None) -> Task:
    """A task that is only a prompt, and a folder to begin from."""
    if not prompt.strip():
        raise TaskError("the task's text is empty; say what is to be done")
    folder = None if workspace is None else Path(workspace).expanduser().absolute()
    if folder is not None and not folder.is_dir():
        raise TaskError(f"the workspace {folder} is no folder")
    words = re.findall(r"\w+", prompt.lower())[:4]
    return Task(
        name="-".join(words)[:40] or "task",
        title=prompt.strip().splitlines()[0][:80],
        description=prompt,
        workspace=None if folder is None else str(folder),
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
    # A misspelt field is also a missing one: the misspelling says more.
    fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    field = ".".join(str(part) for part in fault["loc"])
    place = f"{path} line {line_of(text, fault['loc'])}"
    match fault["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(fault["loc"][-1]), _known(fault["loc"]), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return f"{place}: there is no field {field}{hint}"
        case "missing":
            return f"{place}: the field {field} is missing"
    said = fault["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    said = said.replace("String should", "must").replace("a valid tuple", "a list")
    shown = repr(fault["input"])
    return f"{place}: {field} {said}, is {shown if len(shown) <= 60 else shown[:59] + '…'}"


def _known(loc: tuple[int | str, ...]) -> list[str]:
    """The fields of the table that `loc` lies in."""
    tables: dict[int | str, type[BaseModel]] = {"evaluation": EvaluationTable, "mounts": Mount}
    table = tables.get(loc[0], TaskTable) if len(loc) > 1 else TaskTable
    return list(table.model_fields)
