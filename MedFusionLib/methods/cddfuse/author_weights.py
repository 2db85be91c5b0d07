"""Checkpoints of the CDDFuse authors, read into our network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.cddfuse.architecture import Architecture
from MedFusionLib.methods.cddfuse.network import CDDFuse
from MedFusionLib.methods.cddfuse.weight_file import save_network
from MedFusionLib.methods.checkpoints import Rules, load_renamed, read_containers, shape_in

_shape = partial(shape_in, network="CDDFuse")

PARTS = {
    "encoder": "DIDF_Encoder",
    "decoder": "DIDF_Decoder",
    "fusion.base": "BaseFuseLayer",
    "fusion.detail": "DetailFuseLayer",
}
"""Our networks, and the names under which the authors' files hold them."""

_BLOCK: Rules = (
    (r"\.attention_norm\.", ".norm1.body."),
    (r"\.feed_forward_norm\.", ".norm2.body."),
    (r"\.attention\.", ".attn."),
)
_RESTORMER: Rules = (
    (r"(blocks\.\d+)\.attention\.inputs\.", r"\1.attention.qkv."),
    (r"(blocks\.\d+)\.attention\.mixing\.", r"\1.attention.qkv_dwconv."),
    (r"(blocks\.\d+)\.attention\.projection\.", r"\1.attention.project_out."),
    (r"(blocks\.\d+)\.feed_forward\.", r"\1.ffn."),
    (r"^encoder\.blocks\.", "encoder.encoder_level1."),
    (r"^decoder\.blocks\.", "decoder.encoder_level2."),
)
_BASE: Rules = (
    (r"base\.attention\.temperature$", "base.attention.scale"),
    (r"base\.attention\.inputs\.", "base.attention.qkv1."),
    (r"base\.attention\.mixing\.", "base.attention.qkv2."),
    (r"base\.attention\.projection\.", "base.attention.proj."),
    (r"base\.feed_forward\.", "base.mlp."),
)
_FEED_FORWARD: Rules = (
    (r"\.(ffn|mlp)\.expansion\.", r".\1.project_in."),
    (r"\.(ffn|mlp)\.mixing\.", r".\1.dwconv."),
    (r"\.(ffn|mlp)\.projection\.", r".\1.project_out."),
)
_DETAIL: Rules = (
    (r"\.couplings\.(\d+)\.", r".net.\1."),
    (r"\.mixing\.(weight|bias)$", r".shffleconv.\1"),
    (r"\.second_shift\.", ".theta_phi.bottleneckBlock."),
    (r"\.first_scale\.", ".theta_rho.bottleneckBlock."),
    (r"\.first_shift\.", ".theta_eta.bottleneckBlock."),
    # Theirs counts the border's padding as a layer.
    (r"bottleneckBlock\.4\.", "bottleneckBlock.5."),
    (r"bottleneckBlock\.2\.", "bottleneckBlock.3."),
)
_REST: Rules = (
    (r"^encoder\.stem\.", "encoder.patch_embed.proj."),
    (r"^encoder\.base\.", "encoder.baseFeature."),
    (r"^encoder\.detail\.", "encoder.detailFeature."),
    (r"^decoder\.reduction\.", "decoder.reduce_channel."),
    (r"^decoder\.hidden\.", "decoder.output.0."),
    (r"^decoder\.projection\.", "decoder.output.2."),
    *((rf"^{ours}\.", f"{theirs}.") for ours, theirs in PARTS.items()),
)
RULES: Rules = (*_RESTORMER, *_BASE, *_FEED_FORWARD, *_DETAIL, *_BLOCK, *_REST)
"""From our names to theirs, with the name of the part in front."""


def from_author_states(states: Mapping[str, Mapping[str, Tensor]], skip: str = "none") -> CDDFuse:
    """Network in evaluation mode from the authors' four state dicts, named as in ``PARTS``.

    Widths, depths and heads are read from the tensors; ``skip`` (``architecture.SKIPS``) is not in
    them. Names may begin with ``module.``. Raises ``WeightsError`` for a missing or unknown part,
    naming keys that are missing, superfluous or of another shape.
    """
    _refuse_other_parts(states)
    joined = {
        f"{part}.{key.removeprefix('module.')}": tensor
        for part, state in states.items()
        for key, tensor in state.items()
    }
    network = CDDFuse(_architecture(joined, skip))
    load_renamed(network, joined, RULES)
    return network.eval()


def import_checkpoint(checkpoint: Path, target: Path, skip: str) -> None:
    """Turn a checkpoint of the authors (a dict of four state dicts) into our weight file.

    Nothing in the checkpoint is executed: it is read as tensors and plain containers only.
    Raises ``WeightsError`` for anything that is no such dict or does not fit.
    """
    states = read_containers(checkpoint)
    if not _are_states(states):
        raise WeightsError(
            f"The checkpoint {checkpoint} is none of CDDFuse: it must hold the state dicts "
            f"{', '.join(PARTS.values())} and nothing else."
        )
    save_network(from_author_states(states, skip), target)  # type: ignore[arg-type]


def _are_states(found: object) -> bool:
    return isinstance(found, Mapping) and all(
        isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values())
        for state in found.values()
    )


def _refuse_other_parts(states: Mapping[str, object]) -> None:
    wanted = set(PARTS.values())
    if wanted != set(states):
        found = ", ".join(sorted(map(str, states))) or "nothing"
        raise WeightsError(
            f"A checkpoint of CDDFuse holds {', '.join(PARTS.values())}; this one holds {found}."
        )


def _architecture(state: Mapping[str, Tensor], skip: str) -> Architecture:
    """What only the tensors tell."""
    encoder, decoder = PARTS["encoder"], PARTS["decoder"]
    first = f"{encoder}.encoder_level1.0"
    channels = _shape(state, f"{encoder}.patch_embed.proj.weight")[0]
    hidden = _shape(state, f"{first}.ffn.project_out.weight")[1]
    return Architecture(
        channels=channels,
        expansion=hidden / channels,
        encoder_blocks=_count(state, f"{encoder}.encoder_level1."),
        decoder_blocks=_count(state, f"{decoder}.encoder_level2."),
        encoder_heads=_shape(state, f"{first}.attn.temperature")[0],
        decoder_heads=_shape(state, f"{decoder}.encoder_level2.0.attn.temperature")[0],
        base_heads=_shape(state, f"{encoder}.baseFeature.attn.scale")[0],
        fusion_heads=_shape(state, f"{PARTS['fusion.base']}.attn.scale")[0],
        detail_couplings=_count(state, f"{encoder}.detailFeature.net."),
        fusion_couplings=_count(state, f"{PARTS['fusion.detail']}.net."),
        skip=skip,
    )


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered parts begin with ``prefix``."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
