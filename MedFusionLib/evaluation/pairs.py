"""What a leader board is made on: slice pairs and published results, from tables or folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from MedFusionLib.errors import InputError
from MedFusionLib.tables import read_rows

PAIR_COLUMNS = ("pair_id", "set", "patient", "split", "mri", "other")
PUBLISHED_COLUMNS = ("method", "set", "pair_id", "result")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
FOLDER_SET = "images"
ALL_SPLITS = ALL_SETS = "all"


@dataclass(frozen=True)
class Pair:
    """An MR slice (`reference`) and the CT, PET or SPECT slice (`other`) that lies on it."""

    pair_id: str
    set_name: str
    patient: str
    split: str
    reference: Path
    other: Path
    slice_number: int = 0
    """Place in the patient's volume; seeds the noise of methods that draw some."""

    @property
    def key(self) -> tuple[str, str]:
        """Set and identifier: the same slice number occurs in several sets."""
        return self.set_name, self.pair_id


@dataclass(frozen=True)
class Published:
    """The fused image that the authors of `method` published for a pair."""

    method: str
    key: tuple[str, str]
    image: Path


def read_pairs(manifest: Path, split: str) -> list[Pair]:
    """Pairs of one split, or of all with split "all", in the order of the manifest.

    The manifest is a CSV with the columns pair_id, set, patient, split, mri and other (paths
    relative to it) and, if there, slice. Raises `InputError` for a table without them and for a
    split without pairs.
    """
    rows = read_rows(manifest, PAIR_COLUMNS)
    chosen = [row for row in rows if split in (ALL_SPLITS, row["split"])]
    if not chosen:
        known = ", ".join([*sorted({row["split"] for row in rows}), ALL_SPLITS])
        raise InputError(
            f"'{manifest}' has no pairs of the split '{split}'. Choose one of: {known}."
        )
    return [_pair(row, manifest.parent) for row in chosen]


def _pair(row: dict[str, str], folder: Path) -> Pair:
    number = row.get("slice", "")
    return Pair(
        row["pair_id"],
        row["set"],
        row["patient"],
        row["split"],
        folder / row["mri"],
        folder / row["other"],
        int(number) if number.isdigit() else 0,
    )


def of_sets(pairs: Sequence[Pair], wanted: str) -> list[Pair]:
    """Pairs of the sets named in `wanted` (commas between), or all with "all"."""
    known = list(dict.fromkeys(pair.set_name for pair in pairs))
    names = known if wanted == ALL_SETS else [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in known:
            raise InputError(f"There is no set '{name}'. Choose of: {', '.join(known)}.")
    return [pair for pair in pairs if pair.set_name in names]


def sampled(pairs: Sequence[Pair], of_each_set: int | None) -> list[Pair]:
    """Evenly spaced pairs of each set, in their order; all with None."""
    if of_each_set is None:
        return list(pairs)
    chosen: list[Pair] = []
    for name in dict.fromkeys(pair.set_name for pair in pairs):
        here = [pair for pair in pairs if pair.set_name == name]
        last, count = len(here) - 1, min(of_each_set, len(here))
        places = [round(place * last / max(count - 1, 1)) for place in range(count)]
        chosen += [here[place] for place in places]
    return chosen


def read_published(folder: Path, pairs: Iterable[Pair]) -> list[Published]:
    """Published images of these pairs, from FOLDER/mapping.csv (method, set, pair_id, result)."""
    known = {pair.key for pair in pairs}
    published = [
        Published(row["method"], (row["set"], row["pair_id"]), folder / row["result"])
        for row in read_rows(folder / "mapping.csv", PUBLISHED_COLUMNS)
    ]
    return [result for result in published if result.key in known]


def pairs_of_folders(reference: Path, other: Path) -> list[Pair]:
    """Pairs of the equally named images of two folders (the ending may differ).

    Each image counts as a patient of its own, as nothing else is known. Raises `InputError` if the
    folders do not hold the same names.
    """
    references, others = _images(reference), _images(other)
    if set(references) != set(others) or not references:
        odd = ", ".join(sorted(set(references) ^ set(others))[:5]) or "no image at all"
        raise InputError(
            f"'{reference}' and '{other}' must hold images of the same names. Only one has: {odd}."
        )
    return [
        Pair(name, FOLDER_SET, name, FOLDER_SET, references[name], others[name], number)
        for number, name in enumerate(sorted(references))
    ]


def is_image_folder(path: Path) -> bool:
    """Whether a path is a folder with PNG, JPEG, TIFF, BMP or GIF images in it."""
    return path.is_dir() and any(file.suffix.lower() in IMAGE_SUFFIXES for file in path.iterdir())


def published_of_folder(folder: Path, pairs: Sequence[Pair]) -> list[Published]:
    """Fused images of a folder that are named like the pairs; the folder's name is the method."""
    images = _images(folder)
    found = [
        Published(folder.resolve().name, pair.key, images[pair.pair_id])
        for pair in pairs
        if pair.pair_id in images
    ]
    if not found:
        raise InputError(f"No image in '{folder}' is named like one of the pairs.")
    return found


def _images(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"There is no folder '{folder}'. Check the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            if path.stem in found:
                raise InputError(f"'{folder}' has two images named '{path.stem}'. Remove one.")
            found[path.stem] = path
    return found
