"""The program finds its data from a checkout and from a wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from apollo_tui.paths import data_dir

CHECKOUT = Path(__file__).parent.parent


def test_from_a_checkout() -> None:
    assert data_dir() == CHECKOUT / "data"
    assert (data_dir() / "tasks" / "noisy-filter" / "task.toml").is_file()


def test_from_a_wheel(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*build, str(CHECKOUT)], check=True, timeout=170)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        names = archive.namelist()
    unwanted = [name for name in names if name.startswith("tests/") or "__pycache__" in name]
    assert not unwanted
    assert "apollo_tui/screens/app.tcss" in names
    assert "apollo_tui/sandbox/inside/runner.py" in names
    said = subprocess.run(
        [sys.executable, "-c", "from apollo_tui.paths import data_dir; print(data_dir())"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert said == str(tmp_path / "installed" / "apollo_tui" / "data")
    for file in ("task.toml", "demo.jsonl", "workspace/classifier.py", "evaluation/evaluate.py"):
        assert (Path(said) / "tasks" / "noisy-filter" / file).is_file()
