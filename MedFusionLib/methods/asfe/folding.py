"""Batch normalisation of a trained network as part of the convolution before it."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from MedFusionLib.methods.asfe.decoder import DecoderBlock
from MedFusionLib.methods.asfe.encoder import EncoderLevel
from MedFusionLib.methods.asfe.frequency_fusion import AdaptiveFrequencyFilter

_PAIRS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    EncoderLevel: (("conv1", "norm1"), ("conv2", "norm2")),
    DecoderBlock: (("conv1", "norm1"), ("conv2", "norm2")),
    AdaptiveFrequencyFilter: (("mixing", "norm"),),
}


def fold_norms(network: nn.Module) -> None:
    """Let convolutions do what the normalisation behind them does; for evaluation only."""
    network.eval()
    for module in network.modules():
        for convolution, norm in _PAIRS.get(type(module), ()):
            folded = fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm))
            setattr(module, convolution, folded)
            setattr(module, norm, nn.Identity())
