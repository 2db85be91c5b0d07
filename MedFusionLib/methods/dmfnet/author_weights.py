"""The authors' checkpoints: their key names, and networks built from their states.

``unet_from_author_state`` and ``head_from_author_state`` take the argument names of the authors'
configuration files. Whatever stands before the keys (``denoise_fn.``, ``module.``) and the
schedule tables that their stage-I checkpoints carry are dropped: the tables follow from the
configuration.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from MedFusionLib.methods.checkpoints import Rules, load_renamed
from MedFusionLib.methods.dmfnet.diffusion import make_schedule
from MedFusionLib.methods.dmfnet.fusion_head import FusionHead
from MedFusionLib.methods.dmfnet.unet import NoiseConditionedUNet

SCHEDULE_TABLES = frozenset(make_schedule("linear", 2).tables())

UNET_ANCHOR = "init_conv.weight"
HEAD_ANCHOR = "decoder.0.block.0.weight"

UNET_RULES: Rules = (
    (r"^noise_embedding\.expand\.", "noise_level_mlp.1."),
    (r"^noise_embedding\.contract\.", "noise_level_mlp.3."),
    (r"^stem\.", "init_conv."),
    (r"^encoder\.", "downs."),
    (r"^middle\.", "mid."),
    (r"^decoder\.", "ups."),
    (r"^output_norm\.", "final_conv.block.0."),
    (r"^output_convolution\.", "final_conv.block.3."),
    (r"\.residual\.noise_projection\.", ".res_block.noise_func.noise_func.0."),
    (r"\.residual\.norm([12])\.", r".res_block.block\1.block.0."),
    (r"\.residual\.conv([12])\.", r".res_block.block\1.block.3."),
    (r"\.residual\.shortcut\.", ".res_block.res_conv."),
    (r"\.attention\.query_key_value\.", ".attn.qkv."),
    (r"\.attention\.output\.", ".attn.out."),
    (r"\.attention\.norm\.", ".attn.norm."),
    (r"\.convolution\.", ".conv."),
)

# The authors' "decoder" alternates: even entries mix the time steps, odd ones fuse the modalities.
HEAD_RULES: Rules = (
    (r"^hidden_convolution\.", "rgb_decode2.conv."),
    (r"^image_convolution\.", "rgb_decode1.conv."),
    (r"\.pointwise\.", ".0."),
    (r"\.spatial\.(weight|bias)$", r".2.\1"),
    (r"\.attention\.spatial\.convolution\.", ".att.sa.sa."),
    (r"\.attention\.channel\.squeeze\.", ".att.ca.ca.0."),
    (r"\.attention\.channel\.expand\.", ".att.ca.ca.2."),
    (r"\.attention\.pixel\.convolution\.", ".att.pa.pa2."),
    (r"\.bridge\.", ".block1."),
    (r"\.output\.", ".block."),
    (r"^levels\.(\d+)\.mixing\.layers\.", lambda match: f"decoder.{2 * int(match[1])}.block."),
    (r"^levels\.(\d+)\.", lambda match: f"decoder.{2 * int(match[1]) + 1}."),
)


def unet_from_author_state(state: Mapping[str, Tensor], **config: Any) -> NoiseConditionedUNet:
    """Build the UNet of a stage-I state dict.

    Args:
        state: parameters under the authors' names.
        **config: arguments of ``NoiseConditionedUNet``.

    Raises:
        WeightsError: naming keys that are missing, superfluous or of another shape.
    """
    unet = NoiseConditionedUNet(**config)
    load_unet(unet, state)
    return unet.eval()


def head_from_author_state(
    state: Mapping[str, Tensor],
    inner_channel: int = 128,
    channel_mults: Sequence[int] = (1, 1, 1, 1, 2),
    time_steps: Sequence[int] = (5, 10, 20),
    feat_scales: Sequence[int] = (2, 5, 8, 11, 14),
    res_blocks: int = 2,
) -> FusionHead:
    """Build the fusion head of a stage-II state dict.

    Args:
        state: parameters under the authors' names.
        inner_channel, channel_mults, res_blocks: those of the UNet that gives the features.
        time_steps: the noise steps, in the order in which their features arrive.
        feat_scales: indices of the UNet features used, in any order.

    Raises:
        WeightsError: naming keys that are missing, superfluous or of another shape.
    """
    scales = sorted(feat_scales, reverse=True)
    widths = [inner_channel * channel_mults[scale // (res_blocks + 1)] for scale in scales]
    head = FusionHead(widths, scales, time_steps)
    load_head(head, state)
    return head.eval()


def load_unet(unet: NoiseConditionedUNet, state: Mapping[str, Tensor]) -> None:
    """Copy a stage-I state under the authors' names into a UNet; errors as above."""
    load_renamed(unet, bare_state(state, UNET_ANCHOR), UNET_RULES)


def load_head(head: FusionHead, state: Mapping[str, Tensor]) -> None:
    """Copy a stage-II state under the authors' names into a fusion head; errors as above."""
    load_renamed(head, bare_state(state, HEAD_ANCHOR), HEAD_RULES)


def bare_state(state: Mapping[str, Tensor], anchor: str) -> dict[str, Tensor]:
    """Drop the schedule tables and what wrappers left before the network's own names."""
    prefix = next((key.removesuffix(anchor) for key in state if key.endswith("." + anchor)), "")
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in state.items()
        if key.rpartition(".")[2] not in SCHEDULE_TABLES
    }
