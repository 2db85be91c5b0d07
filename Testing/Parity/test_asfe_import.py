"""Checkpoints of the ASFE-Fusion authors through the command line, and what comes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from MedFusionLib.commands.import_weights import app
from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.asfe import create

WIDTHS = ("--widths", "8,14,20,26,32", "--patch", "4", "--dim", "32", "--heads", "4")


@pytest.fixture
def tensors(shared: Path) -> dict[str, torch.Tensor]:
    return load_file(shared / "parity" / "asfe" / "net_small.safetensors")


def save_checkpoint(tensors: dict[str, torch.Tensor], path: Path, **changes: torch.Tensor) -> Path:
    state = {k.removeprefix("param."): v for k, v in tensors.items() if k.startswith("param.")}
    torch.save({**state, **changes}, path)
    return path


def import_weights(checkpoint: Path, target: Path) -> Exception | None:
    arguments = ["asfe", str(checkpoint), "-o", str(target), *WIDTHS]
    result = CliRunner().invoke(app, arguments)
    return result.exception


def test_imported_weights_fuse_like_the_authors_network(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    target = tmp_path / "asfe.safetensors"
    assert import_weights(save_checkpoint(tensors, tmp_path / "author.pth"), target) is None
    method = create(torch.device("cpu"), weights=target)
    reference, other = tensors["in.img2"].clamp(0, 1), tensors["in.img1"].clamp(0, 1)
    fused = method.fuse(reference, other)
    # The authors' image is unbounded; the method cuts it to [0, 1] and keeps black black.
    expected = tensors["out.fused"].clamp(0, 1) * (torch.maximum(reference, other) > 0)
    assert (fused - expected).abs().max() <= 1e-4
    assert method.stride == 32


def test_checkpoint_with_a_missing_and_an_unexpected_key_is_refused_by_name(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    del tensors["param.conv_up3.conv1.bias"]
    checkpoint = save_checkpoint(tensors, tmp_path / "author.pth", stranger=torch.zeros(2))
    target = tmp_path / "asfe.safetensors"
    error = import_weights(checkpoint, target)
    assert isinstance(error, WeightsError)
    assert "lacks conv_up3.conv1.bias" in str(error)
    assert "has the unknown stranger" in str(error)
    assert list(tmp_path.iterdir()) == [checkpoint]


class Trap:
    """Would write a file if a checkpoint were allowed to run code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    checkpoint = tmp_path / "trap.pth"
    torch.save({"weights": Trap(tmp_path / "sprung")}, checkpoint)
    error = import_weights(checkpoint, tmp_path / "asfe.safetensors")
    assert isinstance(error, WeightsError)
    assert list(tmp_path.iterdir()) == [checkpoint]
