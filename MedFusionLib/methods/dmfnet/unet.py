"""The denoising UNet of DM-FNet's first stage.

A noise-level conditioned UNet in the manner of SR3 that predicts the clean slice
from a noisy one (He et al., "DM-FNet", IEEE TMM 2025, arXiv 2506.15218). Its decoder
features, not its prediction, feed the fusion head.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class NoiseLevelEmbedding(nn.Module):
    """Turn a noise level into a vector: sines and cosines, then two linear layers.

    The level is used as it is, in (0, 1], without the usual factor of a thousand, so that
    neighbouring levels have similar codes; the authors' weights were trained this way.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def sinusoids(self, noise_level: Tensor) -> Tensor:
        """Return the (B, 1, width) code of (B, 1) noise levels, all sines before all cosines."""
        half = self.width // 2
        steps = torch.arange(half, dtype=noise_level.dtype, device=noise_level.device) / half
        angles = noise_level.unsqueeze(-1) * torch.exp(-math.log(1e4) * steps)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, noise_level: Tensor) -> Tensor:
        code = self.sinusoids(noise_level)
        return self.contract(functional.silu(self.expand(code)))


class ResidualBlock(nn.Module):
    """Two normalised convolutions with a skip; the noise code enters as a bias per channel."""

    def __init__(
        self, width_in: int, width_out: int, noise_width: int, groups: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width_in)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.noise_projection = nn.Linear(noise_width, width_out)
        self.norm2 = nn.GroupNorm(groups, width_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.shortcut = (
            nn.Identity() if width_in == width_out else nn.Conv2d(width_in, width_out, 1)
        )

    def forward(self, x: Tensor, noise_code: Tensor) -> Tensor:
        bias = self.noise_projection(noise_code).flatten(1)[:, :, None, None]
        # In place where the value is needed no more: at full resolution a map outgrows the caches.
        hidden = self.conv1(functional.silu(self.norm1(x), inplace=True)).add_(bias)
        hidden = self.conv2(self.dropout(functional.silu(self.norm2(hidden), inplace=True)))
        return hidden + self.shortcut(x)


class SelfAttention(nn.Module):
    """One-headed self-attention over all positions of the map, added to its input."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.query_key_value = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.output = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        positions = self.query_key_value(self.norm(x)).flatten(2).transpose(1, 2)
        query, key, value = positions.unsqueeze(1).chunk(3, dim=-1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return x + self.output(mixed.squeeze(1).transpose(1, 2).reshape(x.shape))


class Stage(nn.Module):
    """A residual block, followed by self-attention where the level has it."""

    def __init__(self, residual: ResidualBlock, attention: nn.Module) -> None:
        super().__init__()
        self.residual = residual
        self.attention = attention

    def forward(self, x: Tensor, noise_code: Tensor) -> Tensor:
        return self.attention(self.residual(x, noise_code))


class Downsample(nn.Module):
    """Halve height and width with a strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor, noise_code: Tensor) -> Tensor:
        return self.convolution(x)


class Upsample(nn.Module):
    """Double height and width by repetition, then convolve."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, noise_code: Tensor) -> Tensor:
        return self.convolution(functional.interpolate(x, scale_factor=2, mode="nearest"))


class NoiseConditionedUNet(nn.Module):
    """Predict the clean image from a noisy one and its noise level.

    The argument names are those of the authors' configuration files.

    Args:
        image_size: nominal image side. It decides nothing but where self-attention sits:
            level k has it if ``image_size / 2**k`` is in ``attn_res``.
        in_channel: channels of the noisy image.
        out_channel: channels of the prediction.
        inner_channel: width of the first level and of the noise code; even.
        norm_groups: groups of every group normalisation.
        channel_mults: width of each level as a multiple of ``inner_channel``.
        attn_res: nominal sides with self-attention.
        res_blocks: residual blocks per encoder level; a decoder level has one more.
        dropout: drop-out rate in the second half of each residual block.
        middle_attention: whether the middle attends, as in the authors' networks.
    """

    def __init__(
        self,
        image_size: int = 160,
        in_channel: int = 1,
        out_channel: int = 1,
        inner_channel: int = 128,
        norm_groups: int = 32,
        channel_mults: Sequence[int] = (1, 1, 1, 1, 2),
        attn_res: Sequence[int] = (16,),
        res_blocks: int = 2,
        dropout: float = 0.2,
        middle_attention: bool = True,
    ) -> None:
        super().__init__()
        self.depth = len(channel_mults)
        widths = [inner_channel * multiple for multiple in channel_mults]
        attends = [image_size / 2**level in attn_res for level in range(self.depth)]

        def stage(width_in: int, width_out: int, has_attention: bool) -> Stage:
            residual = ResidualBlock(width_in, width_out, inner_channel, norm_groups, dropout)
            attention = SelfAttention(width_out, norm_groups) if has_attention else nn.Identity()
            return Stage(residual, attention)

        self.noise_embedding = NoiseLevelEmbedding(inner_channel)
        self.stem = nn.Conv2d(in_channel, inner_channel, 3, padding=1)

        self.encoder = nn.ModuleList()
        width = inner_channel
        skip_widths = [width]
        for level in range(self.depth):
            for _ in range(res_blocks):
                self.encoder.append(stage(width, widths[level], attends[level]))
                width = widths[level]
                skip_widths.append(width)
            if level + 1 < self.depth:
                self.encoder.append(Downsample(width))
                skip_widths.append(width)

        self.middle = nn.ModuleList(
            [stage(width, width, middle_attention), stage(width, width, False)]
        )

        self.decoder = nn.ModuleList()
        for level in reversed(range(self.depth)):
            for _ in range(res_blocks + 1):
                width_in = width + skip_widths.pop()
                self.decoder.append(stage(width_in, widths[level], attends[level]))
                width = widths[level]
            if level > 0:
                self.decoder.append(Upsample(width))

        self.output_norm = nn.GroupNorm(norm_groups, width)
        self.output_convolution = nn.Conv2d(width, out_channel, 3, padding=1)
        self.feature_count = self.depth * (res_blocks + 1)

    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        """Return the prediction (B, out_channel, H, W) for noisy images in [-1, 1].

        Args:
            x: noisy images (B, in_channel, H, W), H and W multiples of ``2**(depth - 1)``.
            noise_level: (B, 1), the factor of the clean image in ``x``, in (0, 1].
        """
        return self.forward_with_features(x, noise_level)[0]

    def forward_with_features(self, x: Tensor, noise_level: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the prediction and all decoder features, the last computed one first.

        Feature 0 comes from the last decoder block, at full resolution; the highest index is
        the first decoder block, at the lowest resolution.
        """
        features = list(self._decode(x, noise_level))
        return self._predict(features[-1]), features[::-1]

    def features(self, x: Tensor, noise_level: Tensor, indices: Sequence[int]) -> dict[int, Tensor]:
        """Return only the decoder features with the given indices (as in the full list).

        Nothing behind the last wanted block is computed: with the paper's indices
        2, 5, 8, 11, 14 that saves a third of the work and changes no number.

        Raises:
            ValueError: if the network has no feature with such an index.
        """
        if not indices or not all(0 <= index < self.feature_count for index in indices):
            raise ValueError(
                f"The UNet has the features 0 to {self.feature_count - 1}, not {sorted(indices)}."
            )
        last_needed = self.feature_count - 1 - min(indices)
        wanted: dict[int, Tensor] = {}
        for position, feature in enumerate(self._decode(x, noise_level)):
            index = self.feature_count - 1 - position
            if index in indices:
                wanted[index] = feature
            if position == last_needed:
                break
        return wanted

    def _decode(self, x: Tensor, noise_level: Tensor) -> Iterator[Tensor]:
        """Yield the output of each decoder block, computed as it is asked for."""
        divisor = 2 ** (self.depth - 1)
        if x.shape[-2] % divisor or x.shape[-1] % divisor:
            raise ValueError(
                f"Height and width must be multiples of {divisor}, not {tuple(x.shape[-2:])}; "
                "pad the images first."
            )
        noise_code = self.noise_embedding(noise_level.to(self.stem.weight.dtype))
        x = self.stem(x)
        skips = [x]
        for module in self.encoder:
            x = module(x, noise_code)
            skips.append(x)
        for module in self.middle:
            x = module(x, noise_code)
        for module in self.decoder:
            if isinstance(module, Upsample):
                x = module(x, noise_code)
            else:
                x = module(torch.cat([x, skips.pop()], dim=1), noise_code)
                yield x

    def _predict(self, features: Tensor) -> Tensor:
        return self.output_convolution(functional.silu(self.output_norm(features)))
