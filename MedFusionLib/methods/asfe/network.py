"""ASFE-Fusion: encoder, four fusion modules, decoder.

Gu et al., Biomedical Signal Processing and Control 96:106478, 2024; where the paper's figure and
the published model differ, this is the published model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.asfe.architecture import Architecture
from MedFusionLib.methods.asfe.decoder import Decoder
from MedFusionLib.methods.asfe.encoder import Encoder
from MedFusionLib.methods.asfe.experts import MIXTURES
from MedFusionLib.methods.asfe.frequency_fusion import AdaptiveFrequencyFilter
from MedFusionLib.methods.asfe.outputs import OUTPUTS
from MedFusionLib.methods.asfe.spatial_fusion import CrossAttentionSpatialFusion
from MedFusionLib.methods.blocks.precision import at_least_single
from MedFusionLib.methods.blocks.sizes import refuse_other_sizes


class FusionModule(nn.Module):
    """Fuse the two images' features of one level: ``(N, C, H, W)`` twice to ``(N, 2C, H, W)``."""

    def __init__(self, channels: int, architecture: Architecture) -> None:
        super().__init__()
        self.spatial = CrossAttentionSpatialFusion(
            channels, architecture.patch, architecture.dim, architecture.heads
        )
        self.frequency1 = AdaptiveFrequencyFilter(channels, architecture.spectrum)
        self.frequency2 = AdaptiveFrequencyFilter(channels, architecture.spectrum)
        experts = MIXTURES[architecture.mixture]
        self.mixture = experts(2 * channels, architecture.experts, architecture.slots)

    def forward(self, maps1: Tensor, maps2: Tensor) -> Tensor:
        return self.mixture(self._both(maps1, maps2))

    def _both(self, maps1: Tensor, maps2: Tensor) -> Tensor:
        """Spatial and frequency fusion side by side; their own maps end here, before the mixture.

        In channels-last order, in which pixels are tokens already: the mixture copies nothing.
        """
        frequency = self.frequency1(maps1) + self.frequency2(maps2)
        spatial = self.spatial(maps1, maps2)
        both = [part.contiguous(memory_format=torch.channels_last) for part in (spatial, frequency)]
        return torch.cat(both, dim=1)


class ASFEFusion(nn.Module):
    """The whole network: two images ``(N, 1, H, W)`` in [0, 1] to the fused one.

    ``image1`` is CT or the luminance of PET or SPECT, ``image2`` is MR. H and W must be multiples
    of ``architecture.stride``. Memory grows with the number of pixels, not with pixels x slots.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        levels = architecture.widths[1:]
        self.encoder = Encoder(
            architecture.fold**2, architecture.widths, architecture.encoder_hidden
        )
        self.fusions = nn.ModuleList(FusionModule(width, architecture) for width in levels)
        self.decoder = Decoder(
            tuple(2 * width for width in levels),
            architecture.decoder_hidden,
            architecture.decoder_outputs,
        )
        self.output = OUTPUTS[architecture.output]()
        self.projection = nn.Conv2d(architecture.decoder_outputs[0], self.output.channels, 1)

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        return self.output.cut(self.uncut(image1, image2), image1, image2)

    def uncut(self, image1: Tensor, image2: Tensor) -> Tensor:
        """The fused image before it is cut to the range of values that can be shown."""
        refuse_other_sizes("ASFE-Fusion", image1, self.architecture.stride)
        fold = self.architecture.fold
        # One image after the other, not one batch: batch normalisation sees each on its own.
        encoded = [self.encoder(F.pixel_unshuffle(image, fold)) for image in (image1, image2)]
        pairs = zip(*encoded, strict=True)
        fused = [
            fusion(maps1, maps2) for fusion, (maps1, maps2) in zip(self.fusions, pairs, strict=True)
        ]
        decoded = self.decoder(fused)
        # bfloat16's three digits would show in the image: the last step keeps all of them.
        with torch.autocast(decoded.device.type, enabled=False):
            gains = self.projection(at_least_single(decoded))
            return self.output.uncut(gains, at_least_single(image1), at_least_single(image2))
