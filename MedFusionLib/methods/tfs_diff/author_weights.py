"""Checkpoints of the TFS-Diff authors, read into our network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.checkpoints import Rules, filled_renamed, read_checkpoint
from MedFusionLib.methods.dmfnet.author_weights import UNET_ANCHOR, UNET_RULES, bare_state
from MedFusionLib.methods.dmfnet.import_checkpoints import configuration_of
from MedFusionLib.methods.tfs_diff.architecture import SOURCES, Architecture
from MedFusionLib.methods.tfs_diff.network import TFSDiff
from MedFusionLib.methods.tfs_diff.weight_file import empty_network, save_network

ANCHOR = "downs.0.weight"
_SQUEEZES = ("SE_block.linear1.weight", "SE_block.linear2.weight")

RULES: Rules = (
    (r"^unet\.", ""),
    (r"^stem\.", "downs.0."),
    (r"^encoder\.(\d+)\.", lambda match: f"downs.{int(match[1]) + 1}."),
    *UNET_RULES,
    (r"^channel_attention\.squeeze\.", "SE_block.linear1."),
    (r"^channel_attention\.expand\.", "SE_block.linear2."),
)
"""From our names to theirs."""


def from_author_state(state: Mapping[str, Tensor], norm_groups: int = 32) -> TFSDiff:
    """Network in evaluation mode from a state dict under the authors' names.

    Names may have something before them (``denoise_fn.``), and the schedule's tables may lie
    beside them. ``norm_groups`` leave no trace in the tensors. Raises ``WeightsError`` naming keys
    that are missing, unexpected or of another shape.
    """
    bare = bare_state(state, ANCHOR)
    architecture = _architecture(bare, norm_groups)
    # Theirs are matrices, ours act on maps of one pixel.
    linear = {key: bare[key][..., None, None] for key in _SQUEEZES if key in bare}
    return filled_renamed(empty_network(architecture), bare | linear, RULES)


def import_checkpoint(checkpoint: Path, target: Path, norm_groups: int = 32) -> None:
    """Turn a checkpoint of the authors (``I…_E…_gen.pth``) into our weight file.

    Nothing in the checkpoint is executed: it is read as tensors and plain containers only.
    Raises ``WeightsError`` for anything that is no state dict or does not fit.
    """
    save_network(from_author_state(read_checkpoint(checkpoint), norm_groups), target)


def _architecture(state: Mapping[str, Tensor], norm_groups: int) -> Architecture:
    """The widths, which only the tensors tell; the schedule is the published one."""
    if ANCHOR not in state:
        raise WeightsError(f"This is no checkpoint of TFS-Diff's authors: it lacks {ANCHOR}.")
    unet = configuration_of(_as_of_dmfnet(state), (), norm_groups)
    return Architecture(
        colours=state[ANCHOR].shape[1] // (SOURCES + 1),
        inner_channel=unet.inner_channel,
        norm_groups=norm_groups,
        channel_mults=unet.channel_mults,
        res_blocks=unet.res_blocks,
        image_size=unet.image_size,
        attn_res=unet.attn_res,
    )


def _as_of_dmfnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder under the names it has in DM-FNet's files, where the first layer has its own."""
    renamed = {UNET_ANCHOR: state[ANCHOR]}
    for key, tensor in state.items():
        if match := re.match(r"downs\.([1-9]\d*)\.(.*)", key):
            renamed[f"downs.{int(match[1]) - 1}.{match[2]}"] = tensor
    return renamed
