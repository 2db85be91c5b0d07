"""Every tracked file of the module and the package reaches the installed extension."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDERS = ("MedFusion", "MedFusionLib")


def git_files(repository: Path, folder: str) -> set[str]:
    if not (repository / ".git").exists():
        pytest.skip("needs a git checkout to know which files belong to the project")
    listing = subprocess.run(
        ["git", "ls-files", "--", folder],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    files = {name.removeprefix(f"{folder}/") for name in listing}
    return {name for name in files if Path(name).name != "CMakeLists.txt"}


def cmake_list(text: str, variable: str) -> list[str]:
    """Words of ``set(variable ...)``, comments left out."""
    body = re.search(rf"set\({variable}\n(.*?)\n\s*\)", text, re.S)[1]
    return [word for line in body.splitlines() for word in line.split("#")[0].split()]


@pytest.mark.parametrize("folder", FOLDERS)
def test_cmake_names_every_tracked_file_once_and_no_other(repository, folder):
    text = (repository / folder / "CMakeLists.txt").read_text(encoding="utf-8")
    scripts = cmake_list(text, "MODULE_PYTHON_SCRIPTS")
    resources = cmake_list(text, "MODULE_PYTHON_RESOURCES")
    assert sorted(scripts + resources) == sorted(git_files(repository, folder)), (
        "Run 'make cmake-lists' after 'git add'."
    )
    assert all(name.endswith(".py") for name in scripts)
    assert not any(name.endswith(".py") for name in resources)


def test_slicer_finds_one_python_file_in_the_module_folder(repository):
    assert [path.name for path in (repository / "MedFusion").glob("*.py")] == ["MedFusion.py"]


def test_the_weights_and_their_manifest_are_installed(repository):
    text = (repository / "MedFusionLib" / "CMakeLists.txt").read_text(encoding="utf-8")
    weights = {
        path.name for path in (repository / "MedFusionLib" / "weights").glob("*.safetensors")
    }
    named = {Path(name).name for name in cmake_list(text, "MODULE_PYTHON_RESOURCES")}
    assert {"manifest.json", *weights} <= named


def test_the_script_writes_new_files_into_the_lists_and_takes_gone_ones_out(repository):
    script = runpy.run_path(str(repository / "Resources" / "update_cmake_lists.py"))
    text = (repository / "MedFusionLib" / "CMakeLists.txt").read_text(encoding="utf-8")
    written = script["with_list"](text, "scripts", ["new.py", "deep/er.py"])
    assert cmake_list(written, "MODULE_PYTHON_SCRIPTS") == ["new.py", "deep/er.py"]
    assert cmake_list(written, "MODULE_PYTHON_RESOURCES") == cmake_list(
        text, "MODULE_PYTHON_RESOURCES"
    )
    with pytest.raises(ValueError, match="exactly once"):
        script["with_list"]("no markers", "scripts", [])


# Slicer's own macros need a built Slicer. This one does with a list of scripts and resources what
# Slicer documents: it installs them under the module folder, WITH_SUBDIR under the folder's name.
STAND_IN = """
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR built-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR modules)
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_SUBDIR;WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "Unknown: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  set(subfolder "")
  if(MY_WITH_SUBDIR)
    get_filename_component(subfolder ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  endif()
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "There is no file ${file}")
    endif()
    get_filename_component(folder ${file} DIRECTORY)
    install(FILES ${file} DESTINATION modules/${subfolder}/${folder})
  endforeach()
endmacro()
"""


NO_CMAKE = shutil.which("cmake") is None or shutil.which("c++") is None


@pytest.mark.skipif(NO_CMAKE, reason="needs cmake and a C++ compiler, as Slicer's build does")
def test_an_installed_extension_holds_every_tracked_file(repository, tmp_path):
    slicer = tmp_path / "slicer"
    slicer.mkdir()
    (slicer / "use.cmake").write_text(STAND_IN)
    (slicer / "nothing.cmake").write_text("")
    (slicer / "SlicerConfig.cmake").write_text(
        f"set(Slicer_USE_FILE {slicer}/use.cmake)\n"
        f"set(Slicer_EXTENSION_GENERATE_CONFIG {slicer}/nothing.cmake)\n"
        f"set(Slicer_EXTENSION_CPACK {slicer}/nothing.cmake)\n"
    )
    build, installed = tmp_path / "build", tmp_path / "installed"
    configure = ["cmake", "-S", repository, "-B", build, f"-DSlicer_DIR={slicer}"]
    subprocess.run([*configure, f"-DCMAKE_INSTALL_PREFIX={installed}"], check=True)
    subprocess.run(["cmake", "--install", build], check=True)
    modules = installed / "modules"
    found = {str(path.relative_to(modules)) for path in modules.rglob("*") if path.is_file()}
    package = {f"MedFusionLib/{name}" for name in git_files(repository, "MedFusionLib")}
    licence = "MedFusionLib/LICENSE"
    assert found == git_files(repository, "MedFusion") | package | {licence}
    assert "MedFusionLib/sample_data/NOTICE.md" in package
    assert (modules / licence).read_bytes() == (repository / "LICENSE").read_bytes()
