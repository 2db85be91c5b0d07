"""Bone as the fused picture shows it: bright, solid, and thin parts too.

Slices are (H, W) in [0, 1], the CT in the window in which it was fused.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.ndimage

BONE_HOUNSFIELD = 300.0
"""A CT of stored Hounsfield units shows bone above this."""
BONE_LEVEL = 0.9
"""A CT of 8 bits, windowed for the head, shows bone above this share of its range."""
KEPT = 0.9
"""Bone that is shown with this share of the CT's grey value is kept."""
THICK = 6
"""Pixels across, of the disc that fits into bone thicker than 5 pixels."""
RIM = 2
"""Pixels off the border that still are the rim."""
SMALL_PART = 30
"""Connected parts of fewer pixels are thin bone, calcifications or metal."""
RING = (1, 3)
"""The ring around a part: pixels from it that are left out, and reached."""
FEWEST_PIXELS = 20
"""Of a thick part's inner part and rim: with fewer, their ratio is a matter of chance."""
CLEAR = 0.05
"""Contrast of a small part to its ring, in the CT, from which it can be kept or lost."""
TOUCHING = np.ones((3, 3), bool)


def bone_measures(fused: np.ndarray, ct: np.ndarray, bone: np.ndarray) -> dict[str, float]:
    """Measures of one slice by name, nan where it has nothing to measure them on.

    ``bone``: bool (H, W). `bone_error`: mean |F - CT| on bone. `bone_kept`: share of bone with F at
    least 0.9 of the CT. `bone_solidity`: mean of F over the inner part of thick bone, over the mean
    of its rim, relative to the same of the CT; below 1 bone looks hollow. `thin_contrast`: mean
    contrast of small parts to the ring around them, over the CT's own.
    """
    return {
        **bone_kept(fused, ct, bone),
        "bone_solidity": bone_solidity(fused, ct, bone),
        "thin_contrast": thin_contrast(fused, ct, bone),
    }


def bone_kept(fused: np.ndarray, ct: np.ndarray, bone: np.ndarray) -> dict[str, float]:
    """`bone_error` and `bone_kept` of one slice."""
    if not bone.any():
        return {"bone_error": math.nan, "bone_kept": math.nan}
    shown, true = fused[bone], ct[bone]
    return {
        "bone_error": float(np.abs(shown - true).mean()),
        # The least share of a grey value of 12 bits is granted, so that rounding loses nothing.
        "bone_kept": float((shown >= KEPT * true - 1 / 4096).mean()),
    }


def bone_solidity(fused: np.ndarray, ct: np.ndarray, bone: np.ndarray) -> float:
    """Inner part over rim of thick bone, relative to the CT; below 1 bone looks hollow."""
    thick = scipy.ndimage.binary_opening(bone, _disc(THICK))
    depth = scipy.ndimage.distance_transform_edt(bone)
    inner, rim = thick & (depth > RIM), thick & (depth <= RIM)
    if min(inner.sum(), rim.sum()) < FEWEST_PIXELS:
        return math.nan
    of_fused, of_ct = (image[inner].mean() / max(image[rim].mean(), 1e-6) for image in (fused, ct))
    return float(of_fused / of_ct)


def thin_contrast(fused: np.ndarray, ct: np.ndarray, bone: np.ndarray) -> float:
    """Mean over the small parts of (part - ring) in the fused slice over the same in the CT."""
    labels, count = scipy.ndimage.label(bone, TOUCHING)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    places = scipy.ndimage.find_objects(labels)
    shares = [
        _contrast_share(fused, ct, labels, number, places[number - 1])
        for number in range(1, count + 1)
        if sizes[number] < SMALL_PART
    ]
    known = [share for share in shares if not math.isnan(share)]
    return float(np.mean(known)) if known else math.nan


def _contrast_share(
    fused: np.ndarray,
    ct: np.ndarray,
    labels: np.ndarray,
    number: int,
    place: tuple[slice, slice],
) -> float:
    """Of one part; nan where it hardly stands out in the CT or has no ring."""
    box = tuple(slice(max(one.start - RING[1], 0), one.stop + RING[1]) for one in place)
    around = labels[box]
    part = around == number
    near, reached = (scipy.ndimage.binary_dilation(part, TOUCHING, steps) for steps in RING)
    ring = reached & ~near & (around == 0)
    if not ring.any():
        return math.nan
    of_fused, of_ct = (image[box][part].mean() - image[box][ring].mean() for image in (fused, ct))
    return float(of_fused / of_ct) if of_ct >= CLEAR else math.nan


def _disc(across: int) -> np.ndarray:
    """bool (across, across): the pixels whose centre lies in a disc of that diameter."""
    steps = np.arange(across) - (across - 1) / 2
    return steps[:, None] ** 2 + steps[None, :] ** 2 <= (across / 2) ** 2
