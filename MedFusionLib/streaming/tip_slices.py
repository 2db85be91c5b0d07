"""One slice through a volume wherever a pointer's tip is, with its exact place in the world.

Places are in RAS and millimetres here, as OpenIGTLink and trackers use them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK

from MedFusionLib.errors import GeometryError
from MedFusionLib.volumes.volume import RAS_TO_LPS, Volume, to_image

PIXELS = (256, 256)
SPACING = 0.8
"""Pixels (columns, rows) and their size in mm: a head fits in."""
AXIAL = np.diag([-1.0, -1.0, 1.0])
"""Columns: an axial slice's axes as radiologists look at it: to the left, to the back, up."""


@dataclass(frozen=True, eq=False)
class TipSlice:
    """``pixels``: (1, rows, columns), or (1, rows, columns, 3) for colour, of the volume's type.
    ``ijk_to_ras``: (4, 4), from pixel indices to the world."""

    pixels: np.ndarray
    ijk_to_ras: np.ndarray


def axial_pose(tip: np.ndarray) -> np.ndarray:
    """(4, 4): the pose of an axial slice through a tip (RAS, mm)."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = AXIAL, tip
    return pose


class TipSlicer:
    """Cuts slices out of one volume; what lies outside it is 0.

    ``to_volume`` (4, 4, RAS) takes the world to the volume's own space, where they differ.
    """

    def __init__(
        self,
        volume: Volume,
        to_volume: np.ndarray | None = None,
        pixels: tuple[int, int] = PIXELS,
        spacing: float = SPACING,
    ) -> None:
        # SimpleITK takes twelve times as long for pixels of three values as for three images.
        self._images = [to_image(channel) for channel in _channels(volume)]
        self._dtype = volume.voxels.dtype
        self._pixels, self._spacing = pixels, spacing
        self.place(np.eye(4) if to_volume is None else to_volume)

    def place(self, to_volume: np.ndarray) -> None:
        """The world has another place in the volume's space from now on."""
        lps = RAS_TO_LPS @ to_volume @ RAS_TO_LPS
        self._to_volume = SimpleITK.AffineTransform(
            lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist()
        )

    def cut(self, pose: np.ndarray) -> TipSlice:
        """The slice in the plane of a pose's first two axes, with its origin in the middle.

        ``pose`` is (4, 4), RAS in mm; its axes are made unit vectors. Raises ``GeometryError`` for
        a pose that is none: not finite, or with axes that are not at right angles.
        """
        axes = _unit_axes(pose)
        columns, rows = self._pixels
        steps = axes * self._spacing
        corner = pose[:3, 3] - steps @ [(columns - 1) / 2, (rows - 1) / 2, 0.0]
        ijk_to_ras = np.eye(4)
        ijk_to_ras[:3, :3], ijk_to_ras[:3, 3] = steps, corner
        channels = [self._resampled(image, corner, axes) for image in self._images]
        pixels = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
        return TipSlice(self._rounded(pixels), ijk_to_ras)

    def _resampled(
        self, image: SimpleITK.Image, corner: np.ndarray, axes: np.ndarray
    ) -> np.ndarray:
        flip = RAS_TO_LPS[:3, :3]
        found = SimpleITK.Resample(
            image,
            (*self._pixels, 1),
            self._to_volume,
            SimpleITK.sitkLinear,
            (flip @ corner).tolist(),
            (self._spacing,) * 3,
            (flip @ axes).ravel().tolist(),
            0.0,
            # In the volume's own whole numbers, decimals would be cut off, not rounded.
            SimpleITK.sitkFloat32,
        )
        return np.asarray(SimpleITK.GetArrayFromImage(found))

    def _rounded(self, pixels: np.ndarray) -> np.ndarray:
        whole = np.issubdtype(self._dtype, np.integer)
        return (np.rint(pixels) if whole else pixels).astype(self._dtype)


def _channels(volume: Volume) -> list[Volume]:
    if not volume.is_colour:
        return [volume]
    return [
        replace(volume, voxels=np.ascontiguousarray(volume.voxels[..., channel]))
        for channel in range(3)
    ]


def _unit_axes(pose: np.ndarray) -> np.ndarray:
    """(3, 3): the pose's axes as unit vectors, at right angles to each other."""
    axes = np.asarray(pose, dtype=float)[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(pose).all() or (lengths == 0).any():
        raise GeometryError("The tracker's matrix holds no pose. No slice can be cut there.")
    axes = axes / lengths
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-2:
        raise GeometryError("The axes of the tracker's matrix are not at right angles.")
    # The nearest rotation: a slice's sides stand upright on each other to the last digit.
    left, _, right = np.linalg.svd(axes)
    return left @ right
