"""Checkpoints of the ASFE-Fusion authors, read into our network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from MedFusionLib.methods.asfe.architecture import LEVELS, PRESETS, Architecture
from MedFusionLib.methods.asfe.network import ASFEFusion
from MedFusionLib.methods.asfe.weight_file import (
    empty_network,
    save_network,
)
from MedFusionLib.methods.checkpoints import Rules, filled_renamed, read_checkpoint, shape_in

_PAPER = PRESETS["paper"]
_shape = partial(shape_in, network="ASFE-Fusion")

# The published model instantiates whole transformer blocks and uses only their queries, keys and
# values; its first encoder level owns a blur it never applies. Counters are no parameters.
_DEAD = re.compile(
    r"fusionnet\d\.CASFusion\.QKV_Block\d\.(attn\.proj|norm2|mlp\.fc\d)\.(weight|bias)"
    r"|encoder\.block1\.down_anti\.filt"
    r"|.*\.num_batches_tracked"
)

RULES: Rules = (
    # Theirs count from 1.
    (
        r"^(encoder\.levels|decoder\.blocks|fusions)\.(\d)",
        lambda match: f"{match[1]}.{int(match[2]) + 1}",
    ),
    (r"^projection\.", "outlayer."),
    (r"^encoder\.stem\.", "encoder.inlayer."),
    (r"^encoder\.levels\.(\d)\.", r"encoder.block\1."),
    (r"^decoder\.blocks\.(\d)\.", r"conv_up\1."),
    (r"^((?:encoder\.block|conv_up)\d)\.norm(\d)\.", r"\1.bn\2."),
    (r"\.reduction\.blur\.kernel$", ".down_anti.filt"),
    (r"^fusions\.(\d)\.", r"fusionnet\1."),
    (r"\.spatial\.projection(\d)\.", r".CASFusion.proj\1."),
    (r"\.spatial\.embedding(\d)\.projection\.", r".CASFusion.patchembed\1.proj."),
    (r"\.spatial\.inputs(\d)\.norm\.", r".CASFusion.QKV_Block\1.norm1."),
    (r"\.spatial\.inputs(\d)\.qkv\.", r".CASFusion.QKV_Block\1.attn.qkv."),
    (r"\.spatial\.expansion\.projection\.", ".CASFusion.depatch.projection.0."),
    # Their first frequency block filters the second image.
    (r"\.frequency1\.", ".AFFusion2."),
    (r"\.frequency2\.", ".AFFusion1."),
    (r"(AFFusion\d)\.mixing\.", r"\1.conv_layer."),
    (r"(AFFusion\d)\.attention\.", r"\1.conv_layer1."),
    (r"(AFFusion\d)\.norm\.", r"\1.bn."),
    (r"\.mixture\.slots$", ".SFEFusion.slot_embeds"),
    (r"\.mixture\.token_norm\.gain$", ".SFEFusion.norm.gamma"),
    (r"\.mixture\.slot_norm\.gain$", ".SFEFusion.slot_norm.gamma"),
    (r"\.mixture\.experts\.(\d+)\.0\.", r".SFEFusion.experts.experts.\1.0."),
    (r"\.mixture\.experts\.(\d+)\.2\.", r".SFEFusion.experts.experts.\1.3."),
)
"""From our names to theirs."""


def from_author_state(
    state: Mapping[str, Tensor],
    widths: Sequence[int] = _PAPER.widths,
    patch: int = _PAPER.patch,
    dim: int = _PAPER.dim,
    heads: int = _PAPER.heads,
) -> ASFEFusion:
    """Network in evaluation mode from a state dict under the authors' keys.

    ``widths``, ``patch``, ``dim`` and ``heads`` are the arguments of their constructor (default:
    the paper's); hidden widths, experts and slots are read from the tensors. Parameters that
    never reach the result are dropped. Raises ``WeightsError`` naming keys that are missing,
    unexpected or of another shape.
    """
    architecture = _architecture(state, tuple(widths), patch, dim, heads)
    live = {key: tensor for key, tensor in state.items() if not _is_dead(key)}
    return filled_renamed(empty_network(architecture), live, RULES)


def import_checkpoint(
    checkpoint: Path, target: Path, widths: Sequence[int], patch: int, dim: int, heads: int
) -> None:
    """Turn a checkpoint of the authors (``torch.save`` of a state dict) into our weight file.

    Nothing in the checkpoint is executed: it is read as tensors and plain containers only.
    Raises ``WeightsError`` for anything that is no state dict or does not fit.
    """
    save_network(from_author_state(read_checkpoint(checkpoint), widths, patch, dim, heads), target)


def _is_dead(author_name: str) -> bool:
    return _DEAD.fullmatch(author_name) is not None


def _architecture(
    state: Mapping[str, Tensor], widths: tuple[int, ...], patch: int, dim: int, heads: int
) -> Architecture:
    """The given widths, and those that only the tensors tell."""
    encoder = [f"encoder.block{level}" for level in range(1, LEVELS + 1)]
    decoder = [f"conv_up{level}" for level in range(1, LEVELS + 1)]
    experts, slots, _ = _shape(state, "fusionnet1.SFEFusion.slot_embeds")
    return Architecture(
        widths=widths,
        patch=patch,
        dim=dim,
        heads=heads,
        experts=experts,
        slots=slots,
        encoder_hidden=tuple(_shape(state, f"{block}.conv1.weight")[0] for block in encoder),
        decoder_hidden=tuple(_shape(state, f"{block}.conv1.weight")[0] for block in decoder),
        decoder_outputs=tuple(_shape(state, f"{block}.conv2.weight")[0] for block in decoder),
    )
