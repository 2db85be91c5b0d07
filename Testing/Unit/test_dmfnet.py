"""DM-FNet as a fusion method: determinism, sizes, draws, weight files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from MedFusionLib.errors import WeightsError
from MedFusionLib.methods.checkpoints import author_key
from MedFusionLib.methods.dmfnet import (
    create,
    head_from_author_state,
    unet_from_author_state,
)
from MedFusionLib.methods.dmfnet.author_weights import HEAD_RULES, UNET_RULES
from MedFusionLib.methods.dmfnet.config import PRESETS, DMFNetConfig, initialise
from MedFusionLib.methods.dmfnet.import_checkpoints import import_checkpoints
from MedFusionLib.methods.dmfnet.weights_file import write_weights

CPU = torch.device("cpu")
TINY = DMFNetConfig(inner_channel=8, norm_groups=4, channel_mults=(1, 1, 1, 1, 2))


def random_networks(config: DMFNetConfig):
    torch.manual_seed(3)
    networks = config.build_unet(), config.build_head()
    for network in networks:
        initialise(network)
    return networks


def stored(folder: Path, config: DMFNetConfig) -> Path:
    path = folder / "weights.safetensors"
    write_weights(path, *random_networks(config), config)
    return path


def slices(count: int, height: int = 64, width: int = 80) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand((2 * count, 1, height // 8, width // 8), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    images = (smooth - 0.3).clamp(0, 1)
    return images[:count], images[count:]


def test_a_slice_gives_the_same_result_in_whatever_batch(tmp_path: Path) -> None:
    method = create(CPU, weights=stored(tmp_path, TINY))
    reference, other = slices(5)
    together = method.fuse(reference, other, [10, 11, 12, 13, 14])
    for first, last in ((0, 1), (1, 3), (3, 5)):
        indices = range(10 + first, 10 + last)
        part = method.fuse(reference[first:last], other[first:last], indices)
        assert torch.equal(part, together[first:last])


def test_the_noise_follows_the_seed_and_the_place_of_the_slice(tmp_path: Path) -> None:
    path = stored(tmp_path, TINY)
    reference, other = slices(1)
    fused = create(CPU, weights=path, seed=1).fuse(reference, other, [4])
    assert torch.equal(fused, create(CPU, weights=path, seed=1).fuse(reference, other, [4]))
    assert not torch.equal(fused, create(CPU, weights=path, seed=2).fuse(reference, other, [4]))
    assert not torch.equal(fused, create(CPU, weights=path, seed=1).fuse(reference, other, [5]))


def test_global_random_state_is_neither_used_nor_changed(tmp_path: Path) -> None:
    method = create(CPU, weights=stored(tmp_path, TINY))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    fused = method.fuse(*slices(1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(method.fuse(*slices(1)), fused)


def test_several_draws_give_their_mean_and_their_deviation(tmp_path: Path) -> None:
    path = stored(tmp_path, TINY)
    reference, other = slices(2)
    method = create(CPU, weights=path, draws=3)
    fused, deviation = method.fuse_with_uncertainty(reference, other)
    assert fused.shape == deviation.shape == reference.shape
    assert deviation.max() > 0
    assert torch.equal(fused, method.fuse(reference, other))
    # The mean of three lies closer to the first draw than three deviations of the three.
    single = create(CPU, weights=path).fuse(reference, other)
    assert ((single - fused).abs() <= 2 / 3**0.5 * deviation + 1e-6).all()


def test_the_uncertainty_of_a_single_draw_is_refused(tmp_path: Path) -> None:
    method = create(CPU, weights=stored(tmp_path, TINY))
    with pytest.raises(ValueError, match="at least two noise draws"):
        method.fuse_with_uncertainty(*slices(1))


@pytest.mark.parametrize(("option", "value"), [("draws", 0), ("seed", -1)])
def test_impossible_options_are_refused(tmp_path: Path, option: str, value: int) -> None:
    with pytest.raises(ValueError, match="seed of at least 0"):
        create(CPU, weights=stored(tmp_path, TINY), **{option: value})


@pytest.mark.parametrize("side", [16, 48, 64])
def test_small_slices_keep_their_size(tmp_path: Path, side: int) -> None:
    method = create(CPU, weights=stored(tmp_path, TINY))
    reference, other = slices(1, side, side)
    fused = method.fuse(reference, other)
    assert fused.shape == reference.shape
    assert torch.isfinite(fused).all()


def test_weighted_bands_leave_common_background_at_zero(tmp_path: Path) -> None:
    method = create(CPU, weights=stored(tmp_path, replace(TINY, output="weighted bands")))
    reference, other = slices(2)
    fused = method.fuse(reference, other)
    background = (reference == 0) & (other == 0)
    assert background.any()
    assert (fused[background] == 0).all()
    assert fused.min() >= 0
    assert fused.max() <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"time_steps": (5,)},
        {"time_steps": (5, 20)},
        {"channel_mults": (1, 2, 2), "feat_scales": (2, 5, 8)},
        {"inner_channel": 12, "norm_groups": 3},
        {"schedule": "cosine"},
        {"image_size": 64, "attn_res": (16, 8)},
        {"res_blocks": 1, "feat_scales": (1, 3, 5, 7, 9)},
    ],
    ids=str,
)
def test_other_configurations_travel_through_the_authors_names(change: dict) -> None:
    config = replace(TINY, **change)
    unet, head = random_networks(config)
    unet_state = {author_key(k, UNET_RULES): v for k, v in unet.state_dict().items()}
    head_state = {author_key(k, HEAD_RULES): v for k, v in head.state_dict().items()}

    unet_again = unet_from_author_state(
        unet_state,
        image_size=config.image_size,
        inner_channel=config.inner_channel,
        norm_groups=config.norm_groups,
        channel_mults=config.channel_mults,
        attn_res=config.attn_res,
        res_blocks=config.res_blocks,
        dropout=config.dropout,
    )
    head_again = head_from_author_state(
        head_state,
        inner_channel=config.inner_channel,
        channel_mults=config.channel_mults,
        time_steps=config.time_steps,
        feat_scales=config.feat_scales,
        res_blocks=config.res_blocks,
    )

    for network, again in ((unet, unet_again), (head, head_again)):
        for key, tensor in network.state_dict().items():
            assert torch.equal(again.state_dict()[key], tensor)
    with torch.no_grad():
        features = unet_again.features(
            torch.rand(1, 1, 64, 64), torch.ones(1, 1), config.feat_scales
        )
        steps = [features] * len(config.time_steps)
        fused = head_again(steps, steps)
    assert fused.shape == (1, 1, 64, 64)


@pytest.fixture
def author_files(tmp_path: Path) -> tuple[Path, Path]:
    """Checkpoints as the authors store them: a wrapper's prefix and schedule tables in stage I."""
    unet, head = random_networks(TINY)
    unet_state = {
        f"denoise_fn.{author_key(key, UNET_RULES)}": tensor
        for key, tensor in unet.state_dict().items()
    }
    unet_state |= TINY.build_schedule().tables()
    torch.save(unet_state, tmp_path / "gen.pth")
    head_state = {author_key(key, HEAD_RULES): value for key, value in head.state_dict().items()}
    torch.save(head_state, tmp_path / "MIF.pth")
    return tmp_path / "gen.pth", tmp_path / "MIF.pth"


def test_imported_checkpoints_fuse_like_the_networks_they_hold(
    author_files: tuple[Path, Path], tmp_path: Path
) -> None:
    target = tmp_path / "imported.safetensors"
    config = import_checkpoints(*author_files, target, norm_groups=TINY.norm_groups)
    assert (config.inner_channel, config.channel_mults) == (TINY.inner_channel, TINY.channel_mults)
    assert (config.res_blocks, set(config.feat_scales)) == (2, {2, 5, 8, 11, 14})
    images = slices(1)
    wanted = create(CPU, weights=stored(tmp_path, TINY)).fuse(*images)
    assert torch.equal(create(CPU, weights=target).fuse(*images), wanted)


def test_the_command_imports_both_checkpoints(
    author_files: tuple[Path, Path], tmp_path: Path
) -> None:
    testing = pytest.importorskip("typer.testing", reason="the commands need the extra 'cli'")
    from MedFusionLib.commands.import_weights import app

    target = tmp_path / "imported.safetensors"
    unet, head = map(str, author_files)
    arguments = ["dmfnet", "--unet", unet, "--head", head, "-o", str(target), "--norm-groups", "4"]
    result = testing.CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    images = slices(1)
    wanted = create(CPU, weights=stored(tmp_path, TINY)).fuse(*images)
    assert torch.equal(create(CPU, weights=target).fuse(*images), wanted)


def test_attention_levels_are_found_in_the_checkpoint(tmp_path: Path) -> None:
    config = replace(TINY, image_size=64, attn_res=(16,))
    unet, head = random_networks(config)
    for network, rules, name in ((unet, UNET_RULES, "unet"), (head, HEAD_RULES, "head")):
        state = {author_key(key, rules): value for key, value in network.state_dict().items()}
        torch.save(state, tmp_path / f"{name}.pth")
    found = import_checkpoints(
        tmp_path / "unet.pth", tmp_path / "head.pth", tmp_path / "out.safetensors", norm_groups=4
    )
    assert found.build_unet().state_dict().keys() == unet.state_dict().keys()


@pytest.mark.parametrize(
    ("which", "key"),
    [(0, "denoise_fn.mid.0.attn.qkv.weight"), (1, "decoder.5.block1.0.bias")],
)
def test_a_missing_key_is_named_and_nothing_is_written(
    author_files: tuple[Path, Path], tmp_path: Path, which: int, key: str
) -> None:
    state = torch.load(author_files[which], weights_only=True)
    del state[key]
    torch.save(state, author_files[which])
    target = tmp_path / "imported.safetensors"
    with pytest.raises(WeightsError, match=f"lacks {key.removeprefix('denoise_fn.')}"):
        import_checkpoints(*author_files, target, norm_groups=TINY.norm_groups)
    assert not target.exists()


def test_an_unknown_key_and_a_wrong_shape_are_named(author_files: tuple[Path, Path]) -> None:
    state = torch.load(author_files[1], weights_only=True)
    state["decoder.9.extra"] = torch.zeros(1)
    state["rgb_decode1.conv.bias"] = torch.zeros(3)
    arguments = {"inner_channel": 8, "channel_mults": TINY.channel_mults}
    with pytest.raises(WeightsError, match=r"decoder\.9\.extra.*rgb_decode1\.conv\.bias \(3,\)"):
        head_from_author_state(state, **arguments)


def test_wrong_group_counts_are_refused_with_the_option_to_give(
    author_files: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match="--norm-groups"):
        import_checkpoints(*author_files, tmp_path / "imported.safetensors")


def test_a_checkpoint_with_code_in_it_is_refused(
    author_files: tuple[Path, Path], tmp_path: Path
) -> None:
    torch.save({"weights": Path("anything")}, author_files[0])
    with pytest.raises(WeightsError, match="cannot be read safely"):
        import_checkpoints(*author_files, tmp_path / "imported.safetensors")


@pytest.mark.parametrize("content", [b"", b"not weights", None], ids=["empty", "text", "missing"])
def test_a_damaged_weight_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"no weight file|is damaged"):
        create(CPU, weights=path)


def test_weights_of_another_method_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no weight file of 'dmfnet'"):
        create(CPU, weights=tmp_path / "other.safetensors")


def test_the_presets_have_the_promised_sizes() -> None:
    with torch.device("meta"):
        counts = {
            name: [
                sum(parameter.numel() for parameter in network.parameters())
                for network in (config.build_unet(), config.build_head())
            ]
            for name, config in PRESETS.items()
        }
    assert counts["paper"] == [20_670_081, 3_026_640]
    assert 4 * sum(counts["compact"]) <= 16e6
