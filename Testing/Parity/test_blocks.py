"""Shared building blocks against the tensors of the papers' authors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from MedFusionLib.methods.blocks.restormer import (
    ChannelAttention,
    ChannelLayerNorm,
    GatedFeedForward,
    global_feature_block,
    restormer_block,
)
from MedFusionLib.methods.checkpoints import Rules, load_renamed

ATTENTION: Rules = (
    (r"^temperature$", "temperature"),
    (r"^inputs\.", "qkv."),
    (r"^mixing\.", "qkv_dwconv."),
    (r"^projection\.", "project_out."),
)
DENSE_ATTENTION: Rules = (
    (r"^temperature$", "scale"),
    (r"^inputs\.", "qkv1."),
    (r"^mixing\.", "qkv2."),
    (r"^projection\.", "proj."),
)
FEED_FORWARD: Rules = (
    (r"^expansion\.", "project_in."),
    (r"^mixing\.", "dwconv."),
    (r"^projection\.", "project_out."),
)
NORM: Rules = ((r"^", "body."),)


def inside(prefix: str, name: str, rules: Rules) -> Rules:
    """The rules of a part, for the parameters under our ``prefix`` and the authors' ``name``."""
    return tuple(
        (rf"^{prefix}\.{ours.removeprefix('^')}", f"{name}.{theirs}") for ours, theirs in rules
    )


def block(attention: Rules, feed_forward: str) -> Rules:
    return (
        *inside("attention_norm", "norm1", NORM),
        *inside("attention", "attn", attention),
        *inside("feed_forward_norm", "norm2", NORM),
        *inside("feed_forward", feed_forward, FEED_FORWARD),
    )


@pytest.mark.parametrize(
    ("file", "name", "module", "rules"),
    [
        ("cddfuse", "LayerNorm_WithBias", ChannelLayerNorm(6), NORM),
        ("cddfuse", "MDTA", ChannelAttention(12, 3, 36), ATTENTION),
        ("cddfuse", "AttentionBase", ChannelAttention(8, 4, 1), DENSE_ATTENTION),
        ("cddfuse", "GDFN", GatedFeedForward(6, 15, 30), FEED_FORWARD),
        ("cddfuse", "Mlp_factor2", GatedFeedForward(5, 10, 10), FEED_FORWARD),
        ("cddfuse", "TransformerBlock", restormer_block(8, 2, 2), block(ATTENTION, "ffn")),
        (
            "cddfuse",
            "BaseFeatureExtraction",
            global_feature_block(8, 2),
            block(DENSE_ATTENTION, "mlp"),
        ),
        (
            "emma",
            "GlobalFeatureExtraction",
            global_feature_block(8, 4, border="reflect"),
            block(DENSE_ATTENTION, "mlp"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_block_computes_what_the_authors_do(
    shared: Path, file: str, name: str, module: nn.Module, rules: Rules
) -> None:
    tensors = load_file(shared / "parity" / file / "modules.safetensors")
    start = f"{name}.param."
    state = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    load_renamed(module, state, rules)
    expected = tensors[f"{name}.out"]
    difference = (module(tensors[f"{name}.in"]) - expected).abs()
    assert (difference <= 1e-5 * expected.abs().clamp(min=1)).all()
    assert torch.isfinite(expected).all()
