from __future__ import annotations

import os
from pathlib import Path

import pytest

from apollo_tui.core.evaluation import copy_tree, read_score


def test_the_score_is_on_the_last_line_and_capped() -> None:
    assert read_score('noise\n{"score": 42.5, "results": {"f1": 0.4}}\n').score == 42.5
    assert read_score('{"score": 42.5, "results": {"f1": 0.4}}').results == {"f1": 0.4}
    assert read_score('{"score": 140}').score == 100
    assert read_score('{"score": -3}').score == 0


@pytest.mark.parametrize(
    "output",
    ["", "done", '{"result": 1}', '{"score": "high"}', '{"score": NaN}', "[1]", '{"score": null}'],
)
def test_what_is_no_score_is_an_error_and_never_a_zero(output: str) -> None:
    score = read_score(output)
    assert score.score is None
    assert score.error


def test_a_copy_keeps_links_as_links_and_leaves_out_what_is_no_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "secret.txt").write_text("x")
    (source / "inner" / "secret.txt").chmod(0o600)
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "pipe")
    copy_tree(source, tmp_path / "copy")
    assert (tmp_path / "copy" / "link").is_symlink()
    assert not (tmp_path / "copy" / "pipe").exists()
    assert (tmp_path / "copy" / "inner" / "secret.txt").stat().st_mode & 0o044 == 0o044
