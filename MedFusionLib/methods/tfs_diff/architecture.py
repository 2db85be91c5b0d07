"""Every width and convention of TFS-Diff as one value, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from MedFusionLib.methods.dmfnet.diffusion import NoiseSchedule, make_schedule
from MedFusionLib.methods.dmfnet.unet import NoiseConditionedUNet

SOURCES = 3
OUTPUTS = ("noise", "weighted bands")
_SQUEEZE = 4
"""How many times narrower the hidden layer of the channel attention is."""


@dataclass(frozen=True)
class Architecture:
    """Widths and conventions of the network; the defaults are the paper's.

    ``image_size`` and ``attn_res`` only say at which levels the UNet attends (see
    ``NoiseConditionedUNet``). ``schedule`` and its three numbers give the noise of the steps.
    """

    colours: int = 3
    """Channels of each source and of the fused image: 3 as published, 1 for grey."""
    inner_channel: int = 64
    norm_groups: int = 32
    channel_mults: tuple[int, ...] = (1, 2, 4, 8, 8)
    res_blocks: int = 2
    dropout: float = 0.2
    image_size: int = 128
    attn_res: tuple[int, ...] = (16,)
    middle_attention: bool = True
    fold: int = 1
    """Side of the squares of pixels that become the channels of one before the network."""
    output: str = "noise"
    """Whether the network predicts the noise, as published, or gains on the sources' own bands of
    detail, which make the clean image (``weighted bands``, which need grey and a fold of 2)."""
    finest_gain: float = 1.5
    """The highest gain on the sources' finest band, if bands are weighed; on others it is 1.5."""
    knows_absence: bool = False
    """Whether it has learned a value that stands for a source that is not there."""
    schedule: str = "linear"
    n_timestep: int = 4000
    linear_start: float = 1e-6
    linear_end: float = 1e-2

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, not '{self.output}'.")
        if self.output == "weighted bands" and (self.fold, self.colours) != (2, 1):
            raise ValueError(
                "Weighted bands need a fold of 2 and one colour, not "
                f"{self.fold} and {self.colours}."
            )

    @property
    def stride(self) -> int:
        """H and W of the images must be multiples of this."""
        return self.fold * 2 ** (len(self.channel_mults) - 1)

    @property
    def usual_steps(self) -> int:
        """Of a drawing. Gains on bands are nearly right at once: after 5 steps nothing of a slice
        is more than 0.011 from what 20 give."""
        return 5 if self.output == "weighted bands" else 20

    @property
    def channels(self) -> int:
        """Of what the network sees: all sources, and the noisy fused image."""
        return (SOURCES + 1) * self.colours

    @property
    def squeeze(self) -> int:
        return _SQUEEZE

    def build_schedule(self) -> NoiseSchedule:
        return make_schedule(self.schedule, self.n_timestep, self.linear_start, self.linear_end)

    def build_unet(self, maps: int) -> NoiseConditionedUNet:
        """The UNet that turns what the network sees into ``maps`` maps."""
        return NoiseConditionedUNet(
            image_size=self.image_size,
            in_channel=self.channels * self.fold**2,
            out_channel=maps,
            inner_channel=self.inner_channel,
            norm_groups=self.norm_groups,
            channel_mults=self.channel_mults,
            attn_res=self.attn_res,
            res_blocks=self.res_blocks,
            dropout=self.dropout,
            middle_attention=self.middle_attention,
        )

    def as_config(self) -> dict[str, Any]:
        """JSON-able description, the inverse of :func:`from_config`."""
        lists = {"channel_mults": list(self.channel_mults), "attn_res": list(self.attn_res)}
        return {**asdict(self), **lists}


def from_config(config: Mapping[str, Any]) -> Architecture:
    """Architecture from what :meth:`Architecture.as_config` wrote."""
    tuples = {name: tuple(config[name]) for name in ("channel_mults", "attn_res")}
    return Architecture(**{**config, **tuples})


PRESETS = {
    "paper": Architecture(),
    "compact": Architecture(
        colours=1,
        inner_channel=24,
        norm_groups=8,
        channel_mults=(1, 2, 4),
        res_blocks=1,
        dropout=0.0,
        attn_res=(),
        middle_attention=False,
        fold=2,
        output="weighted bands",
        finest_gain=3.0,
        knows_absence=True,
        schedule="cosine",
        n_timestep=1000,
    ),
}
