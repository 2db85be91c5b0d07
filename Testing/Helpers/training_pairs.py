"""Pairs of noise to train on, as files and a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def write_noise_pairs(folder: Path, pairs: Sequence[tuple[str, str]]) -> Path:
    """Write a pair of 64×64 images for each (set, split); one patient for each of these."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = ["pair_id,set,patient,split,mri,other"]
    for number, (name, split) in enumerate(pairs):
        for kind in ("mri", "other"):
            image = generator.integers(0, 256, (64, 64), dtype=np.uint8)
            Image.fromarray(image).save(folder / f"{kind}{number}.png")
        lines.append(f"{number},{name},{name}-{split},{split},mri{number}.png,other{number}.png")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder
