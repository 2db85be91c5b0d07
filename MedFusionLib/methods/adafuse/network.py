"""AdaFuse: an encoder for each image, cross attention at four levels, one decoder.

Gu et al., arXiv 2310.05462; where the paper and the published model differ, this is the published
model. The large decoder that stands unused in each of its fusions is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from MedFusionLib.methods.adafuse.architecture import Architecture
from MedFusionLib.methods.adafuse.fusion import SpatialFrequencyFusion
from MedFusionLib.methods.asfe.decoder import Decoder
from MedFusionLib.methods.asfe.encoder import Encoder
from MedFusionLib.methods.asfe.outputs import OUTPUTS
from MedFusionLib.methods.blocks.precision import at_least_single
from MedFusionLib.methods.blocks.sizes import refuse_other_sizes


class AdaFuse(nn.Module):
    """The whole network: two images ``(N, 1, H, W)`` in [0, 1] to the fused one.

    ``image1`` is CT or the luminance of PET or SPECT, ``image2`` is MR. H and W must be multiples
    of ``architecture.stride``.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        count = 1 if architecture.shared_encoder else 2
        self.encoders = nn.ModuleList(
            Encoder(architecture.fold**2, architecture.widths, architecture.encoder_hidden)
            for _ in range(count)
        )
        self.fusions = nn.ModuleList(
            SpatialFrequencyFusion(
                width,
                architecture.patch,
                architecture.dim,
                architecture.heads,
                depth,
                architecture.spectrum,
            )
            for width, depth in zip(architecture.widths[1:], architecture.depths, strict=True)
        )
        self.decoder = Decoder(
            architecture.widths[1:], architecture.decoder_hidden, architecture.decoder_outputs
        )
        self.output = OUTPUTS[architecture.output]()
        self.projection = nn.Conv2d(architecture.decoder_outputs[0], self.output.channels, 1)

    def forward(self, image1: Tensor, image2: Tensor) -> Tensor:
        return self.output.cut(self.uncut(image1, image2), image1, image2)

    def uncut(self, image1: Tensor, image2: Tensor) -> Tensor:
        """The fused image before it is cut to the range of values that can be shown."""
        refuse_other_sizes("AdaFuse", image1, self.architecture.stride)
        levels = zip(self.fusions, *self._encoded(image1, image2), strict=True)
        decoded = self.decoder([fusion(maps1, maps2) for fusion, maps1, maps2 in levels])
        # bfloat16's three digits would show in the image: the last step keeps all of them.
        with torch.autocast(decoded.device.type, enabled=False):
            gains = self.projection(at_least_single(decoded))
            return self.output.uncut(gains, at_least_single(image1), at_least_single(image2))

    def _encoded(self, image1: Tensor, image2: Tensor) -> list[list[Tensor]]:
        """The maps of each image at each level.

        One image after the other, not one batch: batch normalisation sees each on its own.
        """
        fold = self.architecture.fold
        encoders = (self.encoders[0], self.encoders[-1])
        return [
            encoder(F.pixel_unshuffle(image, fold))
            for encoder, image in zip(encoders, (image1, image2), strict=True)
        ]
