"""The colour scale of a fusion, drawn into a picture."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from MedFusionLib.slices.legend import Legend

BAR_WIDTH = 12
BAR_SHARE = 0.4
"""Of the picture's height."""
MARGIN = 8
FONT_SIZE = 11


def draw_legend(picture: Image.Image, legend: Legend) -> None:
    """Draw an upright bar with the unit and the uptake beside it into the picture's right edge."""
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=FONT_SIZE)
    height = round(BAR_SHARE * picture.height)
    left, top = picture.width - BAR_WIDTH - MARGIN, (picture.height - height) // 2
    column = np.rint(legend.colours(height)[::-1] * 255).astype(np.uint8)
    picture.paste(Image.fromarray(np.repeat(column[:, None], BAR_WIDTH, axis=1)), (left, top))
    draw.rectangle((left - 1, top - 1, left + BAR_WIDTH, top + height), outline="white")
    draw.text(
        (picture.width - MARGIN, top - MARGIN), legend.unit, font=font, fill="white", anchor="rs"
    )
    labels = legend.labels()
    for number, label in enumerate(labels):
        place = top + round((height - 1) * (1 - number / (len(labels) - 1)))
        draw.text((left - 5, place), label, font=font, fill="white", anchor="rm")
