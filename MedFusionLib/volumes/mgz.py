"""FreeSurfer's MGZ files, through nibabel: SimpleITK's own builds cannot read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError
from MedFusionLib.volumes.content import damaged, whole_content
from MedFusionLib.volumes.volume import RAS_TO_LPS, Volume, placed

VALID_RAS = slice(28, 30)
"""Where a header says, by a 1, that its position is valid."""


def read_mgz(path: Path) -> Volume:
    """Read an .mgz or .mgh file of one frame whose header says where its voxels lie."""
    nibabel = _nibabel()
    content = bytes(whole_content(path))
    try:
        image = nibabel.MGHImage.from_bytes(content)
        voxels = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel and numpy raise many kinds for a broken file
        raise InputError(
            f"'{path}' cannot be read as MGZ: it is truncated or damaged ({error}). "
            "Export it again."
        ) from error
    if voxels.ndim == 4 and voxels.shape[3] > 1:
        raise InputError(f"'{path}' holds a 4D image of {voxels.shape[3]} frames. Save one.")
    if content[VALID_RAS] != b"\0\1":  # nibabel puts a default place in its stead
        raise InputError(
            f"'{path}' does not say where its voxels lie (no valid RAS). Convert its source again."
        )
    voxels = voxels.reshape(voxels.shape[:3]).transpose(2, 1, 0)
    if min(voxels.shape) < 2:
        raise InputError(f"'{path}' holds a single slice. MedFusion needs a volume.")
    voxels = np.ascontiguousarray(voxels, dtype=voxels.dtype.newbyteorder("="))
    affine = RAS_TO_LPS @ image.affine
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not edges.all():
        raise damaged(path, "its voxels have no place in space")
    return placed(voxels, affine, {"source": str(path)})


def write_mgz(volume: Volume, path: Path) -> None:
    """Write a scalar volume; MGZ has no colour (see ``files.refuse_unheld``)."""
    nibabel = _nibabel()
    affine = RAS_TO_LPS @ volume.affine_lps
    nibabel.save(nibabel.MGHImage(np.asarray(volume.voxels.transpose(2, 1, 0)), affine), path)


def _nibabel():
    try:
        import nibabel
    except ImportError as error:
        raise InputError(
            "MGZ files need the package nibabel. Install it (pip install nibabel), or convert "
            "the file to NIfTI."
        ) from error
    return nibabel
