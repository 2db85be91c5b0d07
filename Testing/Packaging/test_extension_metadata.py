"""What Slicer's extension index and build read about the extension."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import subprocess
from urllib.parse import urlparse

import pytest

# Schema v1.0.2 of Slicer's extension index: name of each property and its JSON type.
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
    "slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
PROPERTIES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
APACHE_2_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


@pytest.fixture(scope="module")
def entry(repository) -> dict:
    return json.loads((repository / "MedFusion.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def top_level(repository) -> str:
    return (repository / "CMakeLists.txt").read_text(encoding="utf-8")


def test_the_index_entry_follows_the_schema(entry, repository):
    assert {"$schema", "category", "scm_url"} <= set(entry) <= set(PROPERTIES)
    assert all(type(value) is PROPERTIES[name] for name, value in entry.items())
    assert entry["$schema"] == SCHEMA
    assert all(type(name) is str for name in entry["build_dependencies"])
    assert 1 <= entry["tier"] <= 5
    assert b"\r" not in (repository / "MedFusion.json").read_bytes()


def test_the_index_entry_passes_the_rules_that_the_index_checks(entry):
    assert entry["category"] == "IGT"
    assert entry["scm_url"].startswith("https://") and entry["scm_url"].endswith(".git")
    assert entry["scm_url"].rsplit("/", 1)[1].startswith("Slicer")
    assert entry["build_dependencies"] == ["PyTorch"]
    assert entry["build_subdirectory"] == "."


def test_cmake_names_the_extension_as_the_index_entry_does(top_level):
    assert re.search(r"^project\(MedFusion\)$", top_level, re.M)
    assert 'set(EXTENSION_DEPENDS "PyTorch")' in top_level
    assert 'set(EXTENSION_CATEGORY "IGT")' in top_level


@pytest.mark.parametrize("name", ["HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION"])
def test_cmake_says_what_the_extension_manager_shows(top_level, name):
    assert re.search(rf'^set\(EXTENSION_{name} "[^"]+"\)$', top_level, re.M)


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_the_pictures_of_the_extension_manager_are_files_of_the_repository(
    repository, top_level, name
):
    inside = re.search(rf'set\(EXTENSION_{name} "\${{files}}/([^"]+)"\)', top_level)[1]
    assert inside.endswith(".png")
    assert (repository / inside).is_file()


def test_the_repositorys_address_stands_in_the_index_entry_alone(repository, entry):
    address = entry["scm_url"].removesuffix(".git").removeprefix("https://")
    listing = ["git", "grep", "--files-with-matches", "--fixed-strings", address]
    found = subprocess.run(listing, cwd=repository, capture_output=True, text=True)
    if found.returncode > 1:
        pytest.skip("needs a git checkout to know which files belong to the project")
    assert found.stdout.split() == ["MedFusion.json"]


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_takes_the_address_from_the_index_entry(repository, entry, top_level, tmp_path):
    begin, end = top_level.index("file(READ"), top_level.index("find_package(Slicer")
    shown = 'message("${EXTENSION_HOMEPAGE} ${EXTENSION_ICONURL}")'
    script = tmp_path / "metadata.cmake"
    script.write_text(
        f"set(CMAKE_CURRENT_SOURCE_DIR {repository})\n{top_level[begin:end]}\n{shown}"
    )
    told = subprocess.run(["cmake", "-P", script], capture_output=True, text=True, check=True)
    homepage, icon = told.stderr.split()
    assert homepage + ".git" == entry["scm_url"]
    path = urlparse(homepage).path
    assert icon == f"https://raw.githubusercontent.com{path}/main/Resources/MedFusion.png"


def test_the_icon_is_a_png_of_128_by_128_in_both_places(repository):
    icons = [
        (repository / folder / "MedFusion.png").read_bytes()
        for folder in ("Resources", "MedFusion/Resources/Icons")
    ]
    assert icons[0] == icons[1]
    assert icons[0][:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", icons[0][16:24]) == (128, 128)


def test_the_icon_is_the_one_that_the_script_draws(repository):
    import runpy

    import numpy as np
    from PIL import Image

    drawn = runpy.run_path(str(repository / "Resources" / "make_icon.py"))["draw_icon"]()
    with Image.open(repository / "Resources" / "MedFusion.png") as icon:
        np.testing.assert_array_equal(np.asarray(icon.convert("RGBA")), np.asarray(drawn))


def test_the_licence_is_the_whole_text_of_apache_2(repository):
    text = (repository / "LICENSE").read_bytes()
    assert hashlib.sha256(text).hexdigest() == APACHE_2_SHA256
