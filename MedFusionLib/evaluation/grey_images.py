"""Image files of the leader board as 8-bit arrays, and the grey values that are judged.

Grey is OpenCV's 0.114 B + 0.587 G + 0.299 R, rounded, which is the luminance of ITU-R BT.601.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedFusionLib.errors import InputError

EIGHT_BIT_MODES = ("L", "P", "RGB", "RGBA", "LA", "1")


def read_image(path: Path) -> np.ndarray:
    """uint8 (H, W) of a grey file or (H, W, 3) RGB of a colour file; opacity is left out.

    Raises `InputError` if the file is missing, no image, or not of 8 bits.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.mode not in EIGHT_BIT_MODES:
                raise InputError(
                    f"'{path}' has the pixel type {image.mode}. The metrics are defined for 8-bit "
                    "images; save it as an 8-bit PNG."
                )
            return np.array(image.convert("L" if image.mode in ("L", "LA", "1") else "RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"'{path}' cannot be read as an image. Is it there, and whole?") from error


def grey(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) grey values of (H, W) or RGB (H, W, 3), rounded to the nearest."""
    if image.ndim == 2:
        return image
    red, green, blue = np.moveaxis(image.astype(np.float32), -1, 0)
    light = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    return np.rint(light).astype(np.uint8)


def shrunk(image: np.ndarray, width: int) -> np.ndarray:
    """The image as a thumbnail of at most that width, for contact sheets."""
    from PIL import Image

    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
