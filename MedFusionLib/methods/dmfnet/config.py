"""What a DM-FNet consists of: the widths and conventions of both stages, and the presets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from MedFusionLib.methods.dmfnet.diffusion import NoiseSchedule, make_schedule
from MedFusionLib.methods.dmfnet.fusion_head import FusionHead
from MedFusionLib.methods.dmfnet.outputs import OUTPUTS, HeadBands, TanhOutput
from MedFusionLib.methods.dmfnet.unet import NoiseConditionedUNet


@dataclass(frozen=True)
class DMFNetConfig:
    """Everything needed to rebuild the two networks; the defaults are the paper's.

    ``image_size`` and ``attn_res`` only say at which levels the UNet attends (see
    ``NoiseConditionedUNet``). ``schedule`` and its three numbers give the noise of
    ``time_steps``; ``output`` is a name in ``outputs.OUTPUTS``.
    """

    inner_channel: int = 128
    norm_groups: int = 32
    channel_mults: tuple[int, ...] = (1, 1, 1, 1, 2)
    res_blocks: int = 2
    dropout: float = 0.2
    image_size: int = 160
    attn_res: tuple[int, ...] = (16,)
    feat_scales: tuple[int, ...] = (14, 11, 8, 5, 2)
    time_steps: tuple[int, ...] = (5, 10, 20)
    schedule: str = "linear"
    n_timestep: int = 2000
    linear_start: float = 1e-6
    linear_end: float = 1e-2
    output: str = "tanh"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DMFNetConfig":
        """Build a configuration from parsed JSON, whose lists become tuples."""
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**arguments)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @property
    def stride(self) -> int:
        """Pixels of which height and width must be multiples."""
        return 2 ** (len(self.channel_mults) - 1)

    def build_schedule(self) -> NoiseSchedule:
        return make_schedule(self.schedule, self.n_timestep, self.linear_start, self.linear_end)

    def build_unet(self) -> NoiseConditionedUNet:
        return NoiseConditionedUNet(
            image_size=self.image_size,
            inner_channel=self.inner_channel,
            norm_groups=self.norm_groups,
            channel_mults=self.channel_mults,
            attn_res=self.attn_res,
            res_blocks=self.res_blocks,
            dropout=self.dropout,
        )

    def build_head(self) -> FusionHead:
        scales = sorted(self.feat_scales, reverse=True)
        levels = [scale // (self.res_blocks + 1) for scale in scales]
        widths = [self.inner_channel * self.channel_mults[level] for level in levels]
        return FusionHead(widths, scales, self.time_steps, OUTPUTS[self.output].channels)

    def build_output(self) -> TanhOutput | HeadBands:
        return OUTPUTS[self.output]()


PRESETS = {
    "paper": DMFNetConfig(),
    "compact": DMFNetConfig(
        inner_channel=16,
        norm_groups=4,
        channel_mults=(1, 1, 2, 2, 4),
        res_blocks=1,
        feat_scales=(9, 7, 5, 3, 1),
        dropout=0.0,
        output="weighted bands",
    ),
}


def initialise(network: nn.Module) -> None:
    """Start a network as the authors do: orthogonal weights, zero biases, unit norms."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
