"""Draws the extension's icon: two discs, one cool and one warm, blending where they overlap.

They lie corner to corner, so that they fill the square and can be told apart at 16 pixels, on a
light and on a dark ground.

Run ``python Resources/make_icon.py``; it writes the two copies that Slicer needs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
ICON_PATHS = (
    REPOSITORY / "Resources" / "MedFusion.png",
    REPOSITORY / "MedFusion" / "Resources" / "Icons" / "MedFusion.png",
)
SIZE = 128
OVERSAMPLING = 8
RADIUS = 0.34
CENTRES = ((0.36, 0.36), (0.64, 0.64))
ANATOMICAL = (0.42, 0.55, 0.68)
FUNCTIONAL = (0.93, 0.42, 0.10)
FUSED = (1.00, 0.86, 0.45)


def disc(centre: tuple[float, float]) -> np.ndarray:
    """Mask (n, n) of one disc, oversampled so that shrinking it smooths the edge."""
    pixels = (np.arange(SIZE * OVERSAMPLING) + 0.5) / (SIZE * OVERSAMPLING)
    x, y = np.meshgrid(pixels, pixels)
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < RADIUS**2


def draw_icon() -> Image.Image:
    """The icon, RGBA, 128 × 128."""
    left, right = (disc(centre) for centre in CENTRES)
    picture = np.zeros((*left.shape, 4))
    for mask, colour in ((left, ANATOMICAL), (right, FUNCTIONAL), (left & right, FUSED)):
        picture[mask] = (*colour, 1.0)
    image = Image.fromarray(np.round(picture * 255).astype(np.uint8))
    return image.resize((SIZE, SIZE), Image.Resampling.BOX)


if __name__ == "__main__":
    for path in ICON_PATHS:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_icon().save(path, optimize=True)
