"""Pictures for the model cards, from the bundled sample pair only.

Run ``python Resources/make_model_pictures.py``: for every learned method it writes
``docs/models/NAME.png``, one axial slice of the MR, the PET, their fusion, and the fusion of a PET
that lies 8 mm too far to the patient's left.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from MedFusionLib import fuse, read_volume
from MedFusionLib.methods import METHODS
from MedFusionLib.slices.colour import FUNCTIONAL_MAP, apply_colour_map
from MedFusionLib.slices.intensity import choose_window
from MedFusionLib.slices.stack import slice_stack
from MedFusionLib.volumes.volume import Volume

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = REPOSITORY / "MedFusionLib" / "sample_data"
MISPLACED_MM = 8.0
HEIGHT_SHARE = 0.55
"""Where the slice is taken, from the feet (0) to the head (1)."""


def axial_slab(volume: Volume) -> Volume:
    """Three slices of an upright volume (K along the body); the pictures show the middle one."""
    k = round(HEIGHT_SHARE * len(volume.voxels)) - 1
    step = k * volume.spacing[2] * volume.direction_matrix[:, 2]
    origin = tuple(float(value) for value in np.add(volume.origin, step))
    return replace(volume, voxels=volume.voxels[k : k + 3], origin=origin)


def shown(volume: Volume) -> np.ndarray:
    """The middle slice of a slab as uint8 (H, W, 3), front of the head at the top."""
    voxels = slice_stack(volume.voxels, volume.direction_matrix, "axial")[1]
    if volume.is_colour:
        return voxels
    unit = choose_window(volume, None).to_unit(voxels)
    grey = np.repeat(unit[..., None], 3, axis=2)
    painted = apply_colour_map(unit, FUNCTIONAL_MAP) if volume.modality == "PET" else grey
    return np.rint(painted * 255).astype(np.uint8)


def misplaced(transform: sitk.Transform) -> sitk.Transform:
    """The transform, followed by a step of the PET to the patient's left."""
    # It acts first: a point of the reference finds the PET that belongs so much farther right.
    step = sitk.TranslationTransform(3, (-MISPLACED_MM, 0.0, 0.0))
    return sitk.CompositeTransform([transform, step])


def picture(method: str) -> Image.Image:
    """Four panels side by side for one method."""
    reference = axial_slab(read_volume(SAMPLE / "Sample_MR_T1.nrrd", "MR"))
    other = read_volume(SAMPLE / "Sample_FDG_PET.nrrd", "PET")
    transform = sitk.ReadTransform(str(SAMPLE / "true_transform.tfm"))
    right = fuse(reference, other, method, transform)
    wrong = fuse(reference, other, method, misplaced(transform))
    volumes = (reference, right.aligned_other, right.volume, wrong.volume)
    return Image.fromarray(np.concatenate([shown(volume) for volume in volumes], axis=1))


if __name__ == "__main__":
    for card in METHODS.values():
        if card.kind == "learned":
            target = REPOSITORY / "docs" / "models" / f"{card.name}.png"
            picture(card.name).save(target, optimize=True)
            print(f"Wrote {target.relative_to(REPOSITORY)}")
