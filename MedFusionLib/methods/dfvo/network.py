"""DFVO: an encoder for each source, base features by cross attention, detail features, one decoder.

arXiv 2505.04526, as its authors published the network. The reference (MR) has the place of their
visible image, the other that of their infrared one. Maps are (N, C, H, W).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.blocks.invertible import InvertibleStack
from MedFusionLib.methods.blocks.sizes import refuse_sizes_below_two_strides
from MedFusionLib.methods.cddfuse.network import Features
from MedFusionLib.methods.dfvo.architecture import GRID, KEYS_SHARE, Architecture
from MedFusionLib.methods.dfvo.layers import Decoder, brightest_around, encoder
from MedFusionLib.methods.dfvo.outputs import build_output


class SobelConvolution(nn.Module):
    """Two trainable 3×3 convolutions that begin as Sobel derivatives, then 1×1.

    Every pair of an input and an output map begins with the same kernel, so that the untrained
    derivative is that of the sum of the maps.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.horizontal = nn.Conv2d(channels_in, channels_in, 3, padding=1, bias=False)
        self.vertical = nn.Conv2d(channels_in, channels_in, 3, padding=1, bias=False)
        self.projection = nn.Conv2d(channels_in, channels, 1)
        kernel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
        with torch.no_grad():
            self.horizontal.weight.copy_(kernel.expand_as(self.horizontal.weight))
            self.vertical.weight.copy_(kernel.T.expand_as(self.vertical.weight))

    def forward(self, maps: Tensor) -> Tensor:
        return self.projection(self.horizontal(maps).abs() + self.vertical(maps).abs())


class CrossAttention(nn.Module):
    """Attention between the places of two sources: each gathers its values where the other leads.

    The query is of both; the keys of one source choose among the values of the other. Maps of
    ``channels`` in, the same out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        keys = channels // KEYS_SHARE
        self.query = SobelConvolution(2 * channels, keys)
        self.reference_key = SobelConvolution(channels, keys)
        self.other_key = SobelConvolution(channels, keys)
        self.reference_value = nn.Conv2d(channels, channels, 1)
        self.other_value = nn.Conv2d(channels, channels, 1)

    def forward(self, reference: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        query = self.query(torch.cat([reference, other], dim=1))
        return (
            _gathered(query, self.other_key(other), self.reference_value(reference)),
            _gathered(query, self.reference_key(reference), self.other_value(other)),
        )


def _gathered(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention over all places, not scaled by the length of the keys; maps as ``value``."""
    queries, keys, values = (maps.flatten(2).mT for maps in (query, key, value))
    gathered = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
    return gathered.mT.reshape(value.shape)


class BaseExtractor(nn.Module):
    """Base features of two sources: on a coarse grid, through the attention, and back."""

    def __init__(self, channels: int, grid_channels: int) -> None:
        super().__init__()
        self.reference_reduction = nn.Conv2d(channels, grid_channels, 3, GRID, padding=1)
        self.other_reduction = nn.Conv2d(channels, grid_channels, 3, GRID, padding=1)
        self.attention = CrossAttention(grid_channels)
        self.reference_expansion = _expansion(grid_channels, channels)
        self.other_expansion = _expansion(grid_channels, channels)

    def forward(self, reference: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Two (N, channels, H, W), H and W multiples of 4, to two of the same size."""
        of_reference, of_other = self.attention(
            brightest_around(self.reference_reduction(reference)),
            brightest_around(self.other_reduction(other)),
        )
        return (
            reference + self.reference_expansion(of_reference),
            other + self.other_expansion(of_other),
        )


def _expansion(channels_in: int, channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(
        channels_in, channels, 3, GRID, padding=1, output_padding=1, dilation=2
    )


class DFVO(nn.Module):
    """The whole network: reference and other (N, 1, H, W) in [0, 1] to the fused slices.

    H and W must be multiples of ``architecture.stride``, and at least twice that.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths, momentum = architecture.widths, architecture.norm_momentum
        squares = architecture.fold**2
        self.reference_encoder = encoder((squares, *widths), momentum)
        self.other_encoder = encoder((squares, *widths), momentum)
        self.base = BaseExtractor(widths[-1], architecture.base_channels)
        self.reference_detail = _detail_extractor(architecture)
        self.other_detail = _detail_extractor(architecture)
        # The authors use that of their visible image for both sources.
        self.detail_convolution = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.output = build_output(architecture)
        self.decoder = Decoder((2 * widths[-1], *reversed(widths)), self.output.channels, momentum)

    def forward(self, reference: Tensor, other: Tensor) -> Tensor:
        return self.output.cut(self.uncut(reference, other))

    def uncut(self, reference: Tensor, other: Tensor) -> Tensor:
        """The fused slices before they are cut to the range that can be shown."""
        refuse_sizes_below_two_strides("DFVO", reference, self.architecture.stride)
        enhanced = self.output.enhanced(reference)
        return self.fused(*self.features(enhanced, other), enhanced, other)

    def features(self, reference: Tensor, other: Tensor) -> tuple[Features, Features]:
        """Base and detail features of both sources, (N, C, H / fold, W / fold) each."""
        of_reference, of_other = (
            encode(F.pixel_unshuffle(image, self.architecture.fold))
            for encode, image in (
                (self.reference_encoder, reference),
                (self.other_encoder, other),
            )
        )
        reference_base, other_base = self.base(of_reference, of_other)
        return (
            Features(reference_base, self.detail_convolution(self.reference_detail(of_reference))),
            Features(other_base, self.detail_convolution(self.other_detail(of_other))),
        )

    def fused(
        self, of_reference: Features, of_other: Features, reference: Tensor, other: Tensor
    ) -> Tensor:
        """The fused slices, not cut, from the features of both sources and these themselves."""
        both = [of_reference.base + of_other.base, of_reference.detail + of_other.detail]
        return self.output.uncut(self.decoder(torch.cat(both, dim=1)), reference, other)


def _detail_extractor(architecture: Architecture) -> InvertibleStack:
    return InvertibleStack(
        architecture.widths[-1], architecture.couplings, architecture.exponent_limit
    )
