"""Which weights make the wanted sequence from two others: the user's own, or shipped ones."""

from __future__ import annotations

from pathlib import Path

from MedFusionLib.errors import InputError
from MedFusionLib.methods.hinet.architecture import Architecture, from_config
from MedFusionLib.methods.hinet.network import HiNet
from MedFusionLib.methods.hinet.weight_file import FILE, METHOD, load_network
from MedFusionLib.synthesis.sequences import known_sequence
from MedFusionLib.weights import weights_entries


def network_for(
    roles: tuple[str, str], target: str | None, weights: str | Path | None
) -> tuple[HiNet, str]:
    """The network for volumes of these sequences, and its file's SHA-256.

    ``target``: what it has to make; ``None`` takes what it makes from them. Raises ``InputError``
    where the weights were trained for something else, or none of the shipped ones for this.
    """
    wanted = None if target is None else known_sequence(target)
    if weights is None:
        return _shipped(roles, wanted)
    network, sha256 = load_network(weights)
    if not _fits(network.architecture, roles, wanted):
        raise InputError(_refusal("These weights make", [network.architecture], roles, wanted))
    return network, sha256


def _shipped(roles: tuple[str, str], wanted: str | None) -> tuple[HiNet, str]:
    entries = [entry for entry in weights_entries() if entry.method == METHOD]
    for entry in entries:
        if _fits(from_config(entry.config), roles, wanted):
            return FILE.shipped(entry)
    able = [from_config(entry.config) for entry in entries]
    raise InputError(_refusal("The shipped weights make", able, roles, wanted))


def _fits(trained: Architecture, roles: tuple[str, str], wanted: str | None) -> bool:
    return set(roles) == set(trained.inputs) and wanted in (None, trained.target)


def _refusal(
    able: str, trained: list[Architecture], roles: tuple[str, str], wanted: str | None
) -> str:
    made = ", or ".join(f"{one.target} from {' and '.join(one.inputs)}" for one in trained)
    asked = "" if wanted is None else f"{wanted} is wanted, and "
    return (
        f"{able} {made}; {asked}the volumes are {' and '.join(roles)}. Choose other volumes, say "
        "what they are if their names mislead (--sequences), or give weights that were trained "
        "for it (--weights)."
    )
