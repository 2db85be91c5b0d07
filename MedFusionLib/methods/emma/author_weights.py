"""Checkpoints of the EMMA authors, read into our network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.checkpoints import Rules, load_renamed, read_checkpoint
from MedFusionLib.methods.emma.architecture import LEVELS, Architecture
from MedFusionLib.methods.emma.network import UFuser
from MedFusionLib.methods.emma.weight_file import save_network


def _level(name: str) -> Callable[[re.Match[str]], str]:
    """A pattern's replacement that counts levels from 1."""
    return lambda match: f"{name}{int(match[1]) + 1}."


RULES: Rules = (
    (r"^reference_encoder\.levels\.(\d)\.", _level("V_en_")),
    (r"^reference_encoder\.halvings\.(\d)\.", _level("V_down")),
    (r"^other_encoder\.levels\.(\d)\.", _level("I_en_")),
    (r"^other_encoder\.halvings\.(\d)\.", _level("I_down")),
    (r"^fusions\.(\d)\.", _level("f_")),
    (r"^decoders\.(\d)\.", _level("de_")),
    # Theirs are named after the level that they come from.
    (r"^doublings\.(\d)\.convolution\.", lambda match: f"up{int(match[1]) + 2}.0."),
    (r"^projection\.", "last.0."),
    (r"\.embedding\.", ".embed."),
    (r"\.joining\.", ".FFN."),
    (r"\.local_features\.(\d+)\.first\.", r".LocalFeature.Extraction.\1.conv.0."),
    (r"\.local_features\.(\d+)\.second\.", r".LocalFeature.Extraction.\1.conv.2."),
    (r"\.global_features\.", ".GlobalFeature."),
    (r"\.attention_norm\.", ".norm1.body."),
    (r"\.feed_forward_norm\.", ".norm2.body."),
    (r"\.attention\.temperature$", ".attn.scale"),
    (r"\.attention\.inputs\.", ".attn.qkv1."),
    (r"\.attention\.mixing\.", ".attn.qkv2."),
    (r"\.attention\.projection\.", ".attn.proj."),
    (r"\.feed_forward\.expansion\.", ".mlp.project_in."),
    (r"\.feed_forward\.mixing\.", ".mlp.dwconv."),
    (r"\.feed_forward\.projection\.", ".mlp.project_out."),
)
"""From our names to theirs."""


def from_author_state(state: Mapping[str, Tensor]) -> UFuser:
    """Network in evaluation mode from a state dict under the authors' names.

    Widths, heads and depths are read from the tensors; names may begin with ``module.``. Raises
    ``WeightsError`` naming keys that are missing, superfluous or of another shape.
    """
    bare = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    network = UFuser(_architecture(bare))
    load_renamed(network, bare, RULES)
    return network.eval()


def import_checkpoint(checkpoint: Path, target: Path) -> None:
    """Turn a checkpoint of the authors (``torch.save`` of a state dict) into our weight file.

    Nothing in the checkpoint is executed: it is read as tensors and plain containers only.
    Raises ``WeightsError`` for anything that is no state dict or does not fit.
    """
    save_network(from_author_state(read_checkpoint(checkpoint)), target)


def _architecture(state: Mapping[str, Tensor]) -> Architecture:
    """What only the tensors tell."""
    wanted = [f"V_en_{level}.embed.weight" for level in range(1, LEVELS + 1)]
    wanted.append("V_en_1.GlobalFeature.attn.scale")
    missing = [key for key in wanted if key not in state]
    if missing:
        raise WeightsError(
            f"This is no checkpoint of EMMA's U-Fuser: it lacks {missing[0]} (and maybe more)."
        )
    pattern = re.compile(r"V_en_1\.LocalFeature\.Extraction\.(\d+)\.")
    blocks = {match[1] for key in state if (match := pattern.match(key))}
    try:
        return Architecture(
            widths=tuple(len(state[key]) for key in wanted[:LEVELS]),
            heads=len(state[wanted[-1]]),
            local_blocks=len(blocks),
        )
    except ValueError as error:
        raise WeightsError(f"The widths in this checkpoint are none of EMMA's: {error}") from error
