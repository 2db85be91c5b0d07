"""Writes the file lists of MedFusion/CMakeLists.txt and MedFusionLib/CMakeLists.txt from git.

A file that CMake does not name works from the source folder and is missing once the extension is
installed. Run ``make cmake-lists`` after ``git add`` of a new file.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDERS = ("MedFusion", "MedFusionLib")


def tracked_files(folder: str, repository: Path = REPOSITORY) -> list[str]:
    """Paths, relative to ``folder``, of the files that git tracks there, CMake's own left out."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--", "."],
        cwd=repository / folder,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = (name for name in listing.split("\0") if name)
    return sorted(name for name in names if Path(name).name != "CMakeLists.txt")


def split_by_kind(files: list[str]) -> dict[str, list[str]]:
    """CMake compiles ``scripts`` to bytecode and copies ``resources`` as they are."""
    return {
        "scripts": [name for name in files if name.endswith(".py")],
        "resources": [name for name in files if not name.endswith(".py")],
    }


def with_list(text: str, kind: str, names: list[str]) -> str:
    """``text`` of a CMakeLists.txt with ``names`` between the two markers of ``kind``."""
    between = re.compile(
        rf"(^ *# tracked {kind}: begin.*\n)(?:.*\n)*?(^ *# tracked {kind}: end)", re.M
    )
    lines = "".join(f"  {name}\n" for name in names)
    text, found = between.subn(lambda match: match[1] + lines + match[2], text)
    if found != 1:
        raise ValueError(f"CMakeLists.txt needs the two markers 'tracked {kind}' exactly once.")
    return text


def update(folder: str, repository: Path = REPOSITORY) -> None:
    """Rewrites the lists of one folder's CMakeLists.txt."""
    path = repository / folder / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8")
    for kind, names in split_by_kind(tracked_files(folder, repository)).items():
        text = with_list(text, kind, names)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for name in FOLDERS:
        update(name)
