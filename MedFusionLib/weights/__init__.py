"""The shipped weights: safetensors files listed, with their SHA-256, in ``manifest.json``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MedFusionLib.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / "manifest.json"


@dataclass(frozen=True)
class WeightsEntry:
    """One line of the manifest: a file, what network it fits, where it comes from."""

    method: str
    file: str
    sha256: str
    config: dict[str, Any] = field(default_factory=dict)
    """The network's widths and conventions, as its builder takes them."""
    modalities: tuple[str, ...] = ()
    data: str = ""
    split: str = ""
    seed: int = 0
    command: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    licence: str = ""

    @property
    def path(self) -> Path:
        return FOLDER / self.file


def weights_entries() -> tuple[WeightsEntry, ...]:
    """Every line of the manifest; ``WeightsError`` if it is missing or damaged."""
    try:
        lines = json.loads(MANIFEST.read_text(encoding="utf-8"))["weights"]
        return tuple(
            WeightsEntry(**{**line, "modalities": tuple(line["modalities"])}) for line in lines
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"The list of weights, {MANIFEST}, is missing or damaged. Reinstall MedFusion."
        ) from error


def weights_entry(method: str) -> WeightsEntry:
    """The manifest's first line for a method; ``WeightsError`` if it ships no weights."""
    for entry in weights_entries():
        if entry.method == method:
            return entry
    raise WeightsError(f"No weights are shipped for the method '{method}'. Reinstall MedFusion.")


def load_weights(method: str) -> tuple[dict[str, Tensor], WeightsEntry]:
    """State dict of a shipped method, after its SHA-256 was checked."""
    entry = weights_entry(method)
    return entry_tensors(entry), entry


def entry_tensors(entry: WeightsEntry) -> dict[str, Tensor]:
    """What a line of the manifest names, after its SHA-256 was checked."""
    from safetensors.torch import load

    return load(checked_bytes(entry.path, entry.sha256))


def checked_bytes(path: Path, sha256: str) -> bytes:
    """The file's bytes if they have the expected SHA-256, else ``WeightsError``.

    The same bytes are hashed and parsed, so that nothing can change the file in between.
    """
    if not path.is_file():
        raise WeightsError(f"The weight file {path.name} is missing. Reinstall MedFusion.")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"The weight file {path.name} is not the one that was shipped "
            f"(SHA-256 {found[:12]}… instead of {sha256[:12]}…). Reinstall MedFusion."
        )
    return content
