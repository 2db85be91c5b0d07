"""The authors' two checkpoint files into one safetensors file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.checkpoints import read_checkpoint
from MedFusionLib.methods.dmfnet.author_weights import (
    HEAD_ANCHOR,
    UNET_ANCHOR,
    bare_state,
    load_head,
    load_unet,
)
from MedFusionLib.methods.dmfnet.config import DMFNetConfig
from MedFusionLib.methods.dmfnet.weights_file import write_weights
from MedFusionLib.outputs import refuse_unwritable_folder

PAPER = DMFNetConfig()


def import_checkpoints(
    unet_file: Path,
    head_file: Path,
    output: Path,
    time_steps: Sequence[int] = PAPER.time_steps,
    norm_groups: int = PAPER.norm_groups,
) -> DMFNetConfig:
    """Read the checkpoints of both stages and write them as one file for ``create(weights=…)``.

    Widths, depth and attention follow from the shapes of the tensors.

    Args:
        unet_file: stage-I checkpoint, for example ``I630000_E14000_gen.pth``.
        head_file: stage-II checkpoint, for example ``MIF.pth``.
        output: the safetensors file to write.
        time_steps: the noise steps the head was trained with.
        norm_groups: groups of the UNet's group normalisations, which leave no trace in the file.

    Returns:
        The configuration that was found and stored.

    Raises:
        WeightsError: if a file cannot be read safely, or naming the keys that do not fit.
    """
    refuse_unwritable_folder(output.parent)
    unet_state = bare_state(read_checkpoint(unet_file), UNET_ANCHOR)
    head_state = bare_state(read_checkpoint(head_file), HEAD_ANCHOR)
    config = configuration_of(unet_state, tuple(time_steps), norm_groups)
    unet, head = config.build_unet(), config.build_head()
    load_unet(unet, unet_state)
    load_head(head, head_state)
    write_weights(output, unet, head, config)
    return config


def configuration_of(
    state: Mapping[str, Tensor], time_steps: tuple[int, ...], norm_groups: int
) -> DMFNetConfig:
    """Conclude widths, depth and attention of a UNet from its state under the authors' names.

    Raises:
        WeightsError: if the state is no such UNet's, or the groups do not divide its widths.
    """
    if UNET_ANCHOR not in state:
        raise WeightsError(
            f"The stage-I checkpoint lacks {UNET_ANCHOR}: it is not the UNet of DM-FNet."
        )
    inner_channel = len(state[UNET_ANCHOR])
    levels = _encoder_levels(state)
    widths = [len(state[f"downs.{level[-1]}.res_block.block2.block.3.weight"]) for level in levels]
    if any(width % norm_groups for width in (inner_channel, *widths)):
        raise WeightsError(
            f"{norm_groups} normalisation groups do not divide the widths "
            f"{sorted({inner_channel, *widths})}: give the number used in training "
            "(--norm-groups)."
        )
    res_blocks = len(levels[0])
    nominal_side = 2 ** len(levels)
    return DMFNetConfig(
        inner_channel=inner_channel,
        norm_groups=norm_groups,
        channel_mults=tuple(width // inner_channel for width in widths),
        res_blocks=res_blocks,
        image_size=nominal_side,
        attn_res=tuple(
            nominal_side // 2**k
            for k, level in enumerate(levels)
            if f"downs.{level[0]}.attn.qkv.weight" in state
        ),
        feat_scales=tuple(k * (res_blocks + 1) + res_blocks for k in range(len(levels)))[::-1],
        time_steps=time_steps,
    )


def _encoder_levels(state: Mapping[str, Tensor]) -> list[list[int]]:
    """Numbers of the encoder's residual blocks, level by level; downsamplings lie between."""
    pattern = re.compile(r"downs\.(\d+)\.(res_block|conv)\.")
    modules = {int(m[1]): m[2] for key in state if (m := pattern.match(key))}
    levels: list[list[int]] = [[]]
    for number in sorted(modules):
        if modules[number] == "conv":
            levels.append([])
        else:
            levels[-1].append(number)
    if not all(levels):
        raise WeightsError("The checkpoint lacks encoder blocks (downs.…).")
    return levels
