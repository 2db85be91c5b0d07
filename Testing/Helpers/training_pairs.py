"""Pairs of noise to train on, as files and a manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from MedFusionLib.errors import InputError
from MedFusionLib.training.settings import Hardware


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


def assert_two_phases_go_on(
    train: Callable[..., Path], load: Callable[[Path], tuple[Any, str]], settings: Any, folder: Path
) -> None:
    """A run goes on when it is resumed, not otherwise, and another begins with its weights."""
    on_cpu = Hardware(accelerator="cpu", devices="1")
    first = train(settings, folder / "one", on_cpu)
    longer = dataclasses.replace(settings, epochs=3)
    with pytest.raises(InputError, match="--resume"):
        train(longer, folder / "one", on_cpu)
    train(longer, folder / "one", on_cpu, resume=True)
    still = dataclasses.replace(
        settings, start_from=str(first), learning_rate=0.0, first_phase=0.0, epochs=1
    )
    begun, _ = load(first)
    ended, _ = load(train(still, folder / "two", on_cpu))
    pairs = zip(begun.parameters(), ended.parameters(), strict=True)
    assert all(torch.equal(before, after) for before, after in pairs)
