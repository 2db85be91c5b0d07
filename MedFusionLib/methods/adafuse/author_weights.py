"""Checkpoints of the AdaFuse authors, read into our network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.adafuse.architecture import PRESETS, Architecture
from MedFusionLib.methods.adafuse.network import AdaFuse
from MedFusionLib.methods.adafuse.weight_file import empty_network, save_network
from MedFusionLib.methods.asfe.architecture import LEVELS
from MedFusionLib.methods.checkpoints import Rules, filled_renamed, read_checkpoint, shape_in

_PAPER = PRESETS["paper"]
_shape = partial(shape_in, network="AdaFuse")

# The published model instantiates whole transformer blocks where it uses queries, keys and values
# only, and in each fusion a decoder that it never calls; its first encoder level owns a blur that
# it never applies. Counters are no parameters.
_DEAD = re.compile(
    r"fusionnet\d\.(decoder\.|conv1x1\.).*"
    r"|.*\.QKV_Block\d\.(attn\.proj|norm2|mlp\.fc\d)\.(weight|bias)"
    r"|encoder\d?\.block1\.down_anti\.filt"
    r"|.*\.num_batches_tracked"
)

RULES: Rules = (
    (r"^projection\.", "outlayer."),
    (r"^encoders\.(\d)\.", lambda match: f"encoder{int(match[1]) + 1}."),
    (r"\.stem\.", ".inlayer."),
    (r"\.levels\.(\d)\.", lambda match: f".block{int(match[1]) + 1}."),
    (r"^decoder\.blocks\.(\d)\.", lambda match: f"conv_up{int(match[1]) + 1}."),
    (r"^((?:encoder\d\.block|conv_up)\d)\.norm(\d)\.", r"\1.bn\2."),
    (r"\.reduction\.blur\.kernel$", ".down_anti.filt"),
    (r"^fusions\.(\d)\.", lambda match: f"fusionnet{int(match[1]) + 1}."),
    (r"\.frequency\.", ".FusionBlock1."),
    (r"\.spatial\.", ".FusionBlock2."),
    (r"\.final\.", ".FusionBlock_final."),
    (r"\.transformers(\d)\.(\d+)\.inputs\.norm\.", r".TransformerEncoderBlocks\1.\2.norm1."),
    (r"\.transformers(\d)\.(\d+)\.inputs\.qkv\.", r".TransformerEncoderBlocks\1.\2.attn.qkv."),
    (r"\.transformers(\d)\.(\d+)\.projection\.", r".TransformerEncoderBlocks\1.\2.attn.proj."),
    (r"\.transformers(\d)\.(\d+)\.norm\.", r".TransformerEncoderBlocks\1.\2.norm2."),
    (r"\.transformers(\d)\.(\d+)\.expansion\.", r".TransformerEncoderBlocks\1.\2.mlp.fc1."),
    (r"\.transformers(\d)\.(\d+)\.contraction\.", r".TransformerEncoderBlocks\1.\2.mlp.fc2."),
    (r"\.inputs(\d)\.norm\.", r".QKV_Block\1.norm1."),
    (r"\.inputs(\d)\.qkv\.", r".QKV_Block\1.attn.qkv."),
    (r"\.embedding(\d)\.projection\.", r".patchembed\1.proj."),
    (r"\.expansion\.projection\.", ".depatch.projection.0."),
    (r"\.projection(\d)\.", r".proj\1."),
)
"""From our names to theirs, of the network with two encoders."""


def from_author_state(state: Mapping[str, Tensor], heads: int = _PAPER.heads) -> AdaFuse:
    """Network in evaluation mode from a state dict under the authors' names.

    ``heads`` is the argument of their constructor; everything else is read from the tensors.
    Parameters that never reach the result are dropped. Raises ``WeightsError`` naming keys that
    are missing, unexpected or of another shape.
    """
    bare = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    live = {key: tensor for key, tensor in bare.items() if not _DEAD.fullmatch(key)}
    network = empty_network(_architecture(live, heads))
    # The network with one encoder calls it "encoder", without a number.
    shared = network.architecture.shared_encoder
    rules = (*RULES, (r"^encoder1\.", "encoder.")) if shared else RULES
    return filled_renamed(network, live, rules)


def import_checkpoint(checkpoint: Path, target: Path, heads: int) -> None:
    """Turn a checkpoint of the authors (``torch.save`` of a state dict) into our weight file.

    Nothing in the checkpoint is executed: it is read as tensors and plain containers only.
    Raises ``WeightsError`` for anything that is no state dict or does not fit.
    """
    save_network(from_author_state(read_checkpoint(checkpoint), heads), target)


def _architecture(state: Mapping[str, Tensor], heads: int) -> Architecture:
    """What only the tensors tell."""
    shared = "encoder.inlayer.weight" in state
    encoder = "encoder" if shared else "encoder1"
    levels = range(1, LEVELS + 1)
    dim, _, patch, _ = _shape(state, "fusionnet1.FusionBlock1.patchembed1.proj.weight")
    try:
        return Architecture(
            widths=(
                _shape(state, f"{encoder}.inlayer.weight")[0],
                *(_shape(state, f"{encoder}.block{level}.conv2.weight")[0] for level in levels),
            ),
            patch=patch,
            dim=dim,
            heads=heads,
            depths=tuple(_depth(state, level) for level in levels),
            shared_encoder=shared,
            encoder_hidden=_widths(state, f"{encoder}.block{{}}.conv1.weight"),
            decoder_hidden=_widths(state, "conv_up{}.conv1.weight"),
            decoder_outputs=_widths(state, "conv_up{}.conv2.weight"),
        )
    except ValueError as error:
        raise WeightsError(
            f"The widths in this checkpoint are none of AdaFuse's: {error}"
        ) from error


def _widths(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    return tuple(_shape(state, key.format(level))[0] for level in range(1, LEVELS + 1))


def _depth(state: Mapping[str, Tensor], level: int) -> int:
    pattern = re.compile(rf"fusionnet{level}\.FusionBlock1\.TransformerEncoderBlocks1\.(\d+)\.")
    return len({match[1] for key in state if (match := pattern.match(key))})
