"""The volumes behind the second that ``medfusion fuse`` takes, and how each of them is set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from MedFusionLib.errors import InputError

if TYPE_CHECKING:
    import SimpleITK

    from MedFusionLib.volumes.volume import Volume

Setting = TypeVar("Setting")
ONCE_EACH = "of the further volumes: once for each of them, in their order."


@dataclass(frozen=True)
class Further:
    """The further volumes; each list of settings is empty or has one for each of them."""

    paths: Sequence[Path]
    modalities: Sequence[str]
    series: Sequence[str]
    windows: Sequence[str]
    alignments: Sequence[str]
    """Kinds of alignment, or transform files from reference space to the volume's space."""
    colours: Sequence[str]

    def __post_init__(self) -> None:
        for option, given in (
            ("--further-modality", self.modalities),
            ("--further-series", self.series),
            ("--further-window", self.windows),
            ("--further-alignment", self.alignments),
            ("--further-colour", self.colours),
        ):
            if given and len(given) != len(self.paths):
                raise InputError(
                    f"{option} was given {len(given)} times for {len(self.paths)} further volumes. "
                    "Give it once for each of them, in their order, or not at all."
                )

    def read(self, geometry: str | None) -> list[Volume]:
        """The volumes; ``geometry`` as of `volumes.files.read_volume`."""
        from MedFusionLib.volumes.files import read_volume

        modalities, series = self._each(self.modalities, "auto"), self._each(self.series, "")
        return [
            read_volume(path, None if modality == "auto" else modality, uid or None, geometry)
            for path, modality, uid in zip(self.paths, modalities, series, strict=True)
        ]

    def window_choices(self) -> list[str | None]:
        """For `fuse`."""
        return [None if one == "auto" else one for one in self._each(self.windows, "auto")]

    def colour_choices(self) -> list[str]:
        """For `fuse`."""
        return self._each(self.colours, "auto")

    def alignment_choices(
        self, otherwise: str | SimpleITK.Transform
    ) -> list[str | SimpleITK.Transform]:
        """For `fuse`; ``otherwise`` is that of the other volume, which serves these, too."""
        from MedFusionLib.laying import ALIGNMENTS
        from MedFusionLib.registration.overlap import read_transform

        if self.paths and not self.alignments and not isinstance(otherwise, str):
            raise InputError(
                "--transform lays the other volume alone. Say by --further-alignment how each "
                "further volume is laid: a kind of alignment, or a transform file of its own."
            )
        kinds = self._each(self.alignments, otherwise)
        return [
            kind if not isinstance(kind, str) or kind in ALIGNMENTS else read_transform(Path(kind))
            for kind in kinds
        ]

    def transform_files(self) -> list[Path]:
        """Files that are read beside the volumes."""
        from MedFusionLib.laying import ALIGNMENTS

        return [Path(kind) for kind in self.alignments if kind not in ALIGNMENTS]

    def _each(self, given: Sequence[str], otherwise: Setting) -> list[str | Setting]:
        return list(given) or [otherwise] * len(self.paths)
