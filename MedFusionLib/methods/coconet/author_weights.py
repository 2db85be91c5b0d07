"""Checkpoints of the CoCoNet authors, read into our network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from MedFusionLib.methods.checkpoints import Rules, filled_renamed, read_checkpoint, shape_in
from MedFusionLib.methods.coconet.architecture import Architecture
from MedFusionLib.methods.coconet.network import CoCoNet
from MedFusionLib.methods.coconet.weight_file import empty_network, save_network

_shape = partial(shape_in, network="CoCoNet")

# The published model attends to nothing at full resolution, but holds the parameters for it.
_DEAD = re.compile(r"(se_32|att_deconv9)\..*|.*\.num_batches_tracked")


def _attention(match: re.Match[str]) -> str:
    return f"se_{(64, 128, 256)[int(match[1])]}."


def _joining(match: re.Match[str]) -> str:
    return ("att_deconv8.", "att_deconv7.", "deconv4.")[int(match[1])]


def _vgg(match: re.Match[str]) -> str:
    """The place of a convolution in VGG-19, one further after the additional halving."""
    block, number = int(match[1]), int(match[2])
    place = ((0, 3), (6, 8), (11, 13, 15, 17))[block][number]
    return f"vgg19.slice{block + 1}.{place}."


def _numbered(kind: str, level: Callable[[int], int]) -> Callable[[re.Match[str]], str]:
    return lambda match: f"{kind}{level(int(match[1]))}_{int(match[2]) + 1}."


RULES: Rules = (
    (r"^encoder\.blocks\.(\d)\.convolutions\.(\d)\.", _vgg),
    (r"^levels\.(\d)\.(\d)\.0\.", _numbered("conv", lambda level: level + 1)),
    (r"^levels\.(\d)\.(\d)\.2\.", _numbered("bn", lambda level: level + 1)),
    (r"^descent\.0\.", "conv4_1."),
    (r"^descent\.2\.", "bn4_1."),
    (r"^bottom\.0\.", "conv4_2."),
    (r"^bottom\.2\.", "bn4_2."),
    (r"^ascents\.(\d)\.(\d)\.0\.", _numbered("conv", lambda level: 9 - level)),
    (r"^ascents\.(\d)\.(\d)\.2\.", _numbered("bn", lambda level: 9 - level)),
    (r"^doublings\.(\d)\.", lambda match: f"deconv{8 - int(match[1])}."),
    (r"^joinings\.(\d)\.attention\.", _attention),
    (r"^joinings\.(\d)\.convolution\.", _joining),
    (r"^(se_\d+)\.query\.", r"\1.conv_1."),
    (r"^(se_\d+)\.key\.", r"\1.conv_2."),
    (r"^(se_\d+)\.value\.", r"\1.conv_3."),
    (r"^(se_\d+)\.gain$", r"\1.gamma"),
    (r"^projection\.", "conv10."),
)
"""From our names to theirs."""


def from_author_state(state: Mapping[str, Tensor]) -> CoCoNet:
    """Network in evaluation mode from a state dict under the authors' names.

    Names may begin with ``module.``. Parameters that never reach the result are dropped. Raises
    ``WeightsError`` naming keys that are missing, unexpected or of another shape.
    """
    bare = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    live = {key: tensor for key, tensor in bare.items() if not _DEAD.fullmatch(key)}
    return filled_renamed(empty_network(_architecture(live)), live, RULES)


def import_checkpoint(checkpoint: Path, target: Path) -> None:
    """Turn a checkpoint of the authors (``torch.save`` of a state dict) into our weight file.

    Nothing in the checkpoint is executed: it is read as tensors and plain containers only.
    Raises ``WeightsError`` for anything that is no state dict or does not fit.
    """
    save_network(from_author_state(read_checkpoint(checkpoint)), target)


def _architecture(state: Mapping[str, Tensor]) -> Architecture:
    """The widths, which only the tensors tell."""
    widths = tuple(_shape(state, f"conv{level}_1.weight")[0] for level in range(1, 5))
    return Architecture(widths=widths)
