"""Both stages of DM-FNet in one safetensors file.

The tensors are named ``unet.…`` and ``head.…``; the header holds the configuration, so that a
file needs nothing beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.dmfnet.config import DMFNetConfig
from MedFusionLib.methods.dmfnet.fusion_head import FusionHead
from MedFusionLib.methods.dmfnet.unet import NoiseConditionedUNet
from MedFusionLib.weights import load_weights
from MedFusionLib.weights.files import read_weight_file, write_weight_file

METHOD = "dmfnet"
UNET_PREFIX = "unet."
HEAD_PREFIX = "head."


@dataclass(frozen=True)
class StoredNetworks:
    """Two trained networks that belong together, and the SHA-256 of the file they came from."""

    unet: NoiseConditionedUNet
    head: FusionHead
    config: DMFNetConfig
    sha256: str


def write_weights(
    path: Path, unet: NoiseConditionedUNet, head: FusionHead, config: DMFNetConfig
) -> None:
    """Write both networks and their configuration to a safetensors file, whole or not at all."""
    _write(path, {UNET_PREFIX: unet, HEAD_PREFIX: head}, config)


def write_unet(path: Path, unet: NoiseConditionedUNet, config: DMFNetConfig) -> None:
    """Write what stage I trained, the UNet alone, for stage II to start from."""
    _write(path, {UNET_PREFIX: unet}, config)


def _write(path: Path, networks: Mapping[str, nn.Module], config: DMFNetConfig) -> None:
    tensors = {
        prefix + key: tensor
        for prefix, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
    write_weight_file(path, METHOD, tensors, config.to_json())


def read_weights(path: Path) -> StoredNetworks:
    """Read networks written by ``write_weights``.

    Raises:
        WeightsError: if there is no such file, it is damaged, or it holds something else.
    """
    file = read_weight_file(path, METHOD)
    return assemble(file.tensors, DMFNetConfig.from_json(file.config), file.sha256)


def read_unet(path: Path) -> tuple[NoiseConditionedUNet, DMFNetConfig]:
    """Read the UNet of a file that holds it alone or beside a fusion head; errors as above."""
    file = read_weight_file(path, METHOD)
    config = DMFNetConfig.from_json(file.config)
    unet = config.build_unet()
    _fill(unet, _without_prefix(file.tensors, UNET_PREFIX))
    return unet, config


def read_shipped() -> StoredNetworks:
    """Read the networks that come with MedFusion, after the check of their digest.

    Raises:
        WeightsError: if the file is missing or is not the one in the manifest.
    """
    tensors, entry = load_weights(METHOD)
    return assemble(tensors, DMFNetConfig.from_json(entry.config), entry.sha256)


def assemble(tensors: Mapping[str, Tensor], config: DMFNetConfig, sha256: str) -> StoredNetworks:
    """Build both networks and fill them with tensors named ``unet.…`` and ``head.…``.

    Raises:
        WeightsError: if the tensors do not fit the configuration.
    """
    unet, head = config.build_unet(), config.build_head()
    for prefix, network in ((UNET_PREFIX, unet), (HEAD_PREFIX, head)):
        _fill(network, _without_prefix(tensors, prefix))
    return StoredNetworks(unet, head, config, sha256)


def _without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix)
    }


def _fill(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise WeightsError(
            f"The weights do not fit their DM-FNet configuration: {error}"
        ) from error
