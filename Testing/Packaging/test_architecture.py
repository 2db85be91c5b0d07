"""The order of the rooms, held by import-linter's contracts in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="needs import-linter")


def lint_imports(checkout: Path) -> subprocess.CompletedProcess[str]:
    command = (
        "import sys; from importlinter.cli import lint_imports_command as run; sys.exit(run())"
    )
    return subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copied(repository: Path, tmp_path: Path) -> Path:
    """A copy of the sources, to break."""
    for name in ("MedFusionLib", "MedFusion"):
        shutil.copytree(
            repository / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors")
        )
    shutil.copy(repository / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_room_knows_only_those_below_it(repository: Path) -> None:
    answer = lint_imports(repository)
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("volumes/volume.py", "from MedFusionLib.slices import stack"),
        ("computing/device.py", "import vtk"),
        ("volumes/suv.py", "from MedFusionLib.volumes import dicom_series"),
        ("slicer_app/scene/geometry.py", "import MedFusionLib.slicer_app.panel.state"),
    ],
)
def test_an_import_from_a_room_above_is_found(copied: Path, file: str, line: str) -> None:
    path = copied / "MedFusionLib" / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    answer = lint_imports(copied)
    assert answer.returncode == 1, answer.stdout
    assert "BROKEN" in answer.stdout
