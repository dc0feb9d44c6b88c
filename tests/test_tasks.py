from __future__ import annotations

from pathlib import Path

import pytest

from apollo_tui.errors import TaskError, UnknownName
from apollo_tui.paths import data_dir
from apollo_tui.tasks import bare_task, bundled_tasks, faults_of, load_task

WHOLE = """\
name = "whole"
category = "test"
title = "All there is"
time_limit = "1.5h"
step_limit = 7
tools = ["bash", "finish"]
actions_per_step = 2
image = "somewhere/image:1"
network = true
web_hosts = ["ArXiv.org", "*.python.org"]
gpus = 1

[[mounts]]
host = "/usr/share"
inside = "/data"

[evaluation]
command = "python3 evaluate.py"
timeout = "2m"
submissions = 1
"""


def folder(path: Path, toml: str, *, description: str | None = "Do it.") -> Path:
    (path / "evaluation").mkdir(parents=True)
    (path / "evaluation" / "evaluate.py").write_text("print('{\"score\": 1}')\n")
    (path / "workspace").mkdir()
    (path / "task.toml").write_text(toml)
    if description is not None:
        (path / "description.md").write_text(description)
    return path


def test_every_field_of_a_task_is_read(tmp_path: Path) -> None:
    path = folder(tmp_path / "whole", WHOLE)
    (path / "hint.md").write_text("Look twice.")
    task = load_task(str(path))
    assert (task.name, task.category, task.title) == ("whole", "test", "All there is")
    assert (task.time_limit, task.step_limit, task.actions_per_step) == (5400, 7, 2)
    assert task.tools == ("bash", "finish")
    assert task.web_hosts == ("arxiv.org", "*.python.org")
    assert (task.image, task.network, task.gpus) == ("somewhere/image:1", True, 1)
    assert [(m.host, m.inside, m.read_only) for m in task.mounts] == [("/usr/share", "/data", True)]
    assert (task.description, task.hint) == ("Do it.", "Look twice.")
    assert (task.source, task.workspace) == (str(path), str(path / "workspace"))
    assert task.evaluation is not None
    assert task.evaluation.folder == str(path / "evaluation")
    assert (task.evaluation.timeout, task.evaluation.submissions) == (120, 1)
    assert faults_of(task) == []


def test_the_smallest_task_has_the_defaults(tmp_path: Path) -> None:
    task = load_task(str(folder(tmp_path / "small", 'name = "small"')))
    assert (task.tools, task.time_limit, task.hint, task.evaluation) == (None, None, None, None)
    assert task.actions_per_step == 1


def test_a_task_is_found_by_its_folder_its_file_and_its_name(tmp_path: Path) -> None:
    path = folder(tmp_path / "tasks" / "mine", 'name = "mine"')
    assert load_task(str(path / "task.toml")) == load_task(str(path))
    assert load_task("mine", data=tmp_path) == load_task(str(path))
    assert [task.name for task in bundled_tasks(tmp_path)] == ["mine"]


def test_the_bundled_tasks_are_sound() -> None:
    tasks = bundled_tasks()
    assert [task.name for task in tasks] == [
        "imbalanced-loss",
        "noisy-filter",
        "retrieval-scaffold",
    ]
    for task in tasks:
        assert load_task(task.name) == task
        assert faults_of(task) == []
        assert Path(task.source).is_relative_to(data_dir())
        assert task.title
        assert task.category
        assert task.time_limit
        assert task.hint


def test_an_unknown_task_names_what_there_is() -> None:
    with pytest.raises(UnknownName, match=r"did you mean noisy-filter.*imbalanced-loss") as caught:
        load_task("noisy-filtr")
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownName, match="bundled are"):
        load_task("/nowhere/at/all")
    with pytest.raises(UnknownName):
        load_task("nul\0byte")


@pytest.mark.parametrize("given", ["x" * 5000, "~nobody-of-this-name/task"])
def test_a_path_that_cannot_even_be_looked_at_is_one_line(given: str) -> None:
    with pytest.raises(TaskError, match="cannot read the task"):
        load_task(given)


def test_what_is_no_task_says_why(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"has no task\.toml"):
        load_task(str(tmp_path))
    yaml = tmp_path / "task.yaml"
    yaml.write_text("task_name: x\n")
    with pytest.raises(TaskError, match=r"InnovatorBench.*not supported yet"):
        load_task(str(yaml))
    with pytest.raises(TaskError, match="give the folder"):
        load_task(__file__)


FAULTS = [
    ('name = "a"\nname = "b"', "line 2"),
    ("name = ", "line 1"),
    ('category = "x"', "the field name is missing"),
    ('name = ""', "name must have at least 1 character"),
    ('name = "a"\nstep_limt = 3', "line 2: there is no field step_limt; did you mean step_limit"),
    (
        'name = "a"\ntime_limit = "soon"',
        'line 2: time_limit must be seconds, or a text such as "45s"',
    ),
    ('name = "a"\ntime_limit = true', "line 2: time_limit must be seconds"),
    ('name = "a"\ntime_limit = 0', "line 2: time_limit must be greater than 0, is 0"),
    ('name = "a"\ntime_limit = inf', "line 2: time_limit must be a finite number"),
    ('name = "a"\nweb_hosts = ["a b"]', "line 2: web_hosts.0 must be a host like"),
    ('name = "a"\nweb_hosts = "x.org"', "line 2: web_hosts must be a list"),
    ('name = "a"\nstep_limit = "many"', "line 2: step_limit must be a valid integer"),
    ('name = "a"\nstep_limit = 0', "line 2: step_limit must be greater than 0"),
    ('name = "a"\ntools = "bash"', "line 2: tools must be a list"),
    ('name = "a"\ntools = [1]', "tools.0 must be a valid string"),
    ('name = "a"\nactions_per_step = 0', "actions_per_step must be greater than or equal to 1"),
    ('name = "a"\nnetwork = "perhaps"', "network must be a valid boolean"),
    ('name = "a"\ngpus = -1', "gpus must be greater than or equal to 0"),
    ('name = "a"\n[[mounts]]\nhost = "/x"', "the field mounts.0.inside is missing"),
    (
        'name = "a"\n[[mounts]]\nhost="/x"\ninsid="/y"',
        "no field mounts.0.insid; did you mean inside",
    ),
    ('name = "a"\n[evaluation]\ntimeout = 3', "line 2: the field evaluation.command is missing"),
    ('name = "a"\n[evaluation]\ncommand = ""', "evaluation.command must have at least 1 character"),
    (
        'name = "a"\n[evaluation]\ncommand = "x"\ntimeout = "1d"',
        "line 4: evaluation.timeout must be",
    ),
    ('name = "a"\n[evaluation]\ncommand = "x"\nsubmissions = -1', "evaluation.submissions must be"),
    ('name = "a"\n[evaluation]\ncomand = "x"', "no field evaluation.comand; did you mean command"),
]


@pytest.mark.parametrize(("toml", "said"), FAULTS)
def test_each_fault_is_one_line_with_file_and_field(toml: str, said: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "faulty", toml)
    with pytest.raises(TaskError) as caught:
        load_task(str(path))
    assert said in caught.value.line
    assert "task.toml" in caught.value.line
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    path = folder(tmp_path / "bare", 'name = "a"', description=None)
    with pytest.raises(TaskError, match=r"description\.md is missing"):
        load_task(str(path))
    (path / "description.md").write_bytes(b"\xff\xfe")
    with pytest.raises(TaskError, match=r"description\.md: it is not UTF-8 text"):
        load_task(str(path))
    (path / "description.md").write_text(" \n")
    with pytest.raises(TaskError, match=r"description\.md is empty"):
        load_task(str(path))
    (path / "description.md").write_text("Do it.")
    (path / "task.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(TaskError, match=r"task\.toml: it is not UTF-8 text"):
        load_task(str(path))


def test_an_evaluation_without_its_folder_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "half", WHOLE)
    (path / "evaluation" / "evaluate.py").unlink()
    (path / "evaluation").rmdir()
    with pytest.raises(TaskError, match=r"evaluation is missing"):
        load_task(str(path))


def test_check_finds_what_reading_cannot(tmp_path: Path) -> None:
    toml = WHOLE.replace("/usr/share", "/no/such/data").replace("evaluate.py", "score.py")
    path = folder(tmp_path / "unsound", toml)
    (path / "workspace" / "link").symlink_to("/etc/hostname")
    faults = faults_of(load_task(str(path)))
    assert len(faults) == 3
    assert "the mount /no/such/data does not exist" in faults[0]
    assert "workspace/link" in faults[1]
    assert "names score.py" in faults[2]


def test_check_finds_an_evaluation_the_agent_could_see(tmp_path: Path) -> None:
    path = folder(tmp_path / "open", 'name = "a"\n[evaluation]\ncommand = "true"')
    task = load_task(str(path)).model_copy(update={"workspace": str(path)})
    assert any("inside the workspace" in fault for fault in faults_of(task))


def test_a_bare_prompt_is_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = bare_task("Count the Words!\nAll of them.", None)
    assert (task.name, task.title) == ("count-the-words-all", "Count the Words!")
    assert task.description == "Count the Words!\nAll of them."
    assert bare_task("???", None).name == "task"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    assert bare_task("x", "here").workspace == str(tmp_path / "here")
    with pytest.raises(TaskError, match="is no folder"):
        bare_task("x", str(tmp_path / "gone"))
    with pytest.raises(TaskError, match="empty"):
        bare_task(" \n", None)
