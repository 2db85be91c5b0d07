"""The fusion head of DM-FNet's second stage.

It mixes the UNet features of the time steps, fuses the two modalities with attention and
aggregates the scales from coarse to fine (He et al., arXiv 2506.15218).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from MedFusionLib.methods.blocks.channel_attention import ChannelAttention

Features = Mapping[int, Tensor] | Sequence[Tensor]

HIDDEN_WIDTH = 64


def upsample(x: Tensor) -> Tensor:
    """Double height and width, bilinearly, with the corners of both grids aligned."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class PointwiseThenSpatial(nn.Module):
    """A 1×1 and a 3×3 convolution, each followed by a ReLU."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(width_in, width_out, 1)
        self.spatial = nn.Conv2d(width_out, width_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.spatial(functional.relu(self.pointwise(x))))


class SpatialAttention(nn.Module):
    """Weight of each position from the mean and the maximum over channels: to (B, 1, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return self.convolution(summary)


class PixelAttention(nn.Module):
    """Refine a coarse attention map: each output channel sees its own feature and its own map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            2 * width, width, 3, padding=1, padding_mode="reflect", groups=width
        )

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        interleaved = torch.stack([features, coarse], dim=2).flatten(1, 2)
        return torch.sigmoid(self.convolution(interleaved))


class AttentionFusion(nn.Module):
    """Fuse the features x and y of the two modalities: ``w x + (1 - w) y + x + y``.

    The weight w is the sum x + y times its attention, so it is not confined to [0, 1]. The
    authors' weights were trained like this, and the sign of w carries information.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(width)
        self.spatial = SpatialAttention()
        self.pixel = PixelAttention(width)

    def weight(self, total: Tensor) -> Tensor:
        coarse = self.spatial(total) + self.channel(total)
        return total * self.pixel(total, coarse)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        total = x + y
        return torch.addcmul(y + total, self.weight(total), x - y)


class TimeStepMixing(nn.Module):
    """Mix the features of several time steps into one map; a single step passes unchanged."""

    def __init__(self, width: int, time_step_count: int) -> None:
        super().__init__()
        # With one time step the authors' state still has these layers, though it never uses them.
        self.layers = PointwiseThenSpatial(width * time_step_count, width)

    def forward(self, steps: Sequence[Tensor]) -> Tensor:
        return steps[0] if len(steps) == 1 else self.layers(torch.cat(list(steps), dim=1))


class FusionLevel(nn.Module):
    """One scale of the head.

    Args:
        width: channels of this scale's features.
        width_out: channels handed to the next finer scale.
        width_two_coarser: channels that come from two scales below, or None near the bottom.
    """

    def __init__(
        self, width: int, width_out: int, time_step_count: int, width_two_coarser: int | None
    ) -> None:
        super().__init__()
        self.mixing = TimeStepMixing(width, time_step_count)
        self.attention = AttentionFusion(width)
        self.bridge = (
            None if width_two_coarser is None else PointwiseThenSpatial(width_two_coarser, width)
        )
        self.output = PointwiseThenSpatial(width, width_out)

    def forward(
        self,
        reference_steps: Sequence[Tensor],
        other_steps: Sequence[Tensor],
        coarser: Sequence[Tensor],
    ) -> Tensor:
        """Return this scale's map (B, width_out, H, W).

        Args:
            reference_steps: features (B, width, H, W) of the reference, one per time step.
            other_steps: the same of the other image.
            coarser: the maps of the coarser scales, coarsest first, each upsampled once.
        """
        fused = self.attention(self.mixing(reference_steps), self.mixing(other_steps))
        if coarser:
            fused = fused + coarser[-1]
        if self.bridge is not None:
            fused = fused + upsample(self.bridge(coarser[-2]))
        return self.output(fused)


class FusionHead(nn.Module):
    """From UNet features of both modalities to the maps of the fused image, in (-1, 1).

    Args:
        widths: channels of each feature scale, coarsest first.
        feat_scales: indices of these UNet features, coarsest (highest index) first.
        time_steps: the noise steps whose features arrive, in the order of arrival.
        maps: how many maps the output convention reads; the authors' reads one.
    """

    def __init__(
        self,
        widths: Sequence[int],
        feat_scales: Sequence[int],
        time_steps: Sequence[int],
        maps: int = 1,
    ) -> None:
        super().__init__()
        if len(widths) != len(feat_scales):
            raise ValueError(
                f"The fusion head got {len(widths)} widths for {len(feat_scales)} feature scales."
            )
        self.feat_scales = tuple(feat_scales)
        self.time_step_count = len(time_steps)
        next_widths = [*widths[1:], widths[-1]]
        self.levels = nn.ModuleList(
            FusionLevel(
                width,
                next_widths[level],
                self.time_step_count,
                next_widths[level - 2] if level >= 2 else None,
            )
            for level, width in enumerate(widths)
        )
        self.hidden_convolution = nn.Conv2d(widths[-1], HIDDEN_WIDTH, 3, padding=1)
        self.image_convolution = nn.Conv2d(HIDDEN_WIDTH, maps, 3, padding=1)

    def forward(self, reference: Sequence[Features], other: Sequence[Features]) -> Tensor:
        """Return the maps (B, maps, H, W) in (-1, 1).

        Args:
            reference: one entry per time step, each holding the anatomical image's UNet features
                under their indices: a full list, or a mapping with at least ``feat_scales``.
            other: the same for the second image.

        Raises:
            ValueError: if the number of time steps is not the one the head was built for.
        """
        if not len(reference) == len(other) == self.time_step_count:
            raise ValueError(
                f"The fusion head was built for {self.time_step_count} time steps, "
                f"not {len(reference)} and {len(other)}."
            )
        coarser: list[Tensor] = []
        for scale, level in zip(self.feat_scales, self.levels, strict=True):
            fused = level(
                [step[scale] for step in reference], [step[scale] for step in other], coarser
            )
            if scale != self.feat_scales[-1]:
                coarser.append(upsample(fused))
        hidden = functional.leaky_relu(self.hidden_convolution(fused), 0.2)
        return torch.tanh(self.image_convolution(hidden))
