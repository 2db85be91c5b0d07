"""MedFusion.py loads in Slicer without side effects, wherever the package lies."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# What Slicer bundles and its reviewers allow at file scope of a module.
ALLOWED = {*sys.stdlib_module_names, "slicer", "vtk", "qt", "ctk", "SimpleITK", "numpy", "scipy"}
# Slicer's base classes need a running Slicer; empty ones are enough to execute the file.
LOAD = """
import sys, types
def module(name, **content):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(content)
class Base: pass
names = ["", "Widget", "Logic", "Test"]
module("qt"); module("ctk"); module("vtk")
module("slicer", __path__=[])
module("slicer.util", VTKObservationMixin=type("VTKObservationMixin", (), {}))
sys.modules["slicer"].util = sys.modules["slicer.util"]
module("slicer.i18n", tr=str, translate=lambda context, text: text)
module("slicer.parameterNodeWrapper", parameterNodeWrapper=lambda cls: cls)
base = {"ScriptedLoadableModule" + name: Base for name in names}
module("slicer.ScriptedLoadableModule", __all__=list(base), **base)
before = set(sys.modules)
import MedFusion
import MedFusionLib
print(MedFusionLib.__file__)
print(*sorted(set(sys.modules) - before))
print(sys.path.count(sys.argv[1]))
"""


def file_scope_imports(path: Path) -> set[str]:
    """Top-level packages imported when the file is executed, functions left out."""
    found = set()
    waiting = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += list(ast.iter_child_nodes(node))
    return found


def test_the_module_file_imports_nothing_third_party_at_file_scope(repository):
    assert file_scope_imports(repository / "MedFusion" / "MedFusion.py") <= ALLOWED


def load_module(paths: list[Path], marker: Path) -> list[str]:
    # -I and -S: neither this checkout nor an installed MedFusionLib is on the path.
    script = f"import sys\nsys.path[:0] = {[*map(str, paths)]}\n{LOAD}"
    child = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(marker)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout.splitlines()


def hide_installed_package(folder: Path) -> Path:
    """A copy of the module alone, with the package in the folder above it."""
    module = folder / "MedFusion"
    package = folder / "MedFusionLib"
    module.mkdir(parents=True)
    package.mkdir()
    (package / "__init__.py").write_text("")
    return module


def test_a_bare_module_path_finds_the_package_in_the_folder_above(repository, tmp_path):
    module = hide_installed_package(tmp_path)
    source = (repository / "MedFusion" / "MedFusion.py").read_text(encoding="utf-8")
    (module / "MedFusion.py").write_text(source)
    found, loaded, times = load_module([module], tmp_path)
    assert found == str(tmp_path / "MedFusionLib" / "__init__.py")
    assert times == "1"
    assert "torch" not in loaded.split() and "safetensors" not in loaded.split()


def test_an_installed_package_beside_the_module_leaves_the_path_alone(repository, tmp_path):
    module = hide_installed_package(tmp_path)
    source = (repository / "MedFusion" / "MedFusion.py").read_text(encoding="utf-8")
    (module / "MedFusion.py").write_text(source)
    beside = module / "MedFusionLib"
    beside.mkdir()
    (beside / "__init__.py").write_text("")
    found, _, times = load_module([module], tmp_path)
    assert found == str(beside / "__init__.py")
    assert times == "0"


@pytest.mark.parametrize("line", ["pip_install", "pip_ensure", "installTorch"])
def test_nothing_is_installed_while_the_module_loads(repository, line):
    tree = ast.parse((repository / "MedFusion" / "MedFusion.py").read_text(encoding="utf-8"))
    constructors = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name in ("__init__", "setup", "enter")
    ]
    outside = [node for node in tree.body if not isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert not any(line in ast.unparse(node) for node in constructors + outside)
