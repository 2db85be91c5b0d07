"""`medfusion benchmark` as a process, its arithmetic, and the page of results."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys

import pytest

from MedFusionLib.errors import InputError
from MedFusionLib.evaluation.results_page import main as write_results
from MedFusionLib.evaluation.scoring import SIDE_MEASURES
from MedFusionLib.evaluation.speed.benchmark import Setting, parse_size, run_against, summary


def medfusion(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "MedFusionLib.cli", command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Figures of `maximum` on a batch of large slices, and of a small size."""
    path = tmp_path_factory.mktemp("benchmark") / "speed.json"
    done = medfusion(
        "benchmark", "--methods", "maximum", "--sizes", "2048x1024,256", "--batch", "4",
        "--devices", "cpu", "--precisions", "float32", "--repeats", "3", "--json", path,
        "--startup", "--volume", "48x40x12",
        "--against", shlex.join([sys.executable, "-c", "print(1)"]),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "slices/s" in done.stdout
    return json.loads(path.read_text())


def test_the_peak_memory_holds_at_least_the_fused_batch(figures):
    fused_bytes = 4 * 2048 * 1024 * 4
    assert fused_bytes <= figures["runs"][0]["peak_bytes"] <= 10 * fused_bytes


def test_every_setting_is_measured_and_the_volumes_time_is_given_for_its_size_only(figures):
    large, small = figures["runs"]
    assert (large["height"], large["width"], small["height"]) == (2048, 1024, 256)
    assert large["seconds_per_volume"] is None
    assert small["seconds_per_volume"] == pytest.approx(94 / small["slices_per_second"])
    assert small["flop_per_slice"] == 0 and small["share_of_matrix_speed"] is None


def test_whole_processes_and_volumes_are_measured_when_asked_for(figures):
    imported, fused = figures["startup"]
    assert len(imported["seconds"]) == len(fused["seconds"]) > 1
    # A process that fuses also imports the package, and Python and numpy with it.
    assert fused["median_seconds"] > imported["median_seconds"] > 0
    (volume,) = figures["volumes"]
    assert (volume["method"], volume["shape"], volume["slices_done"]) == (
        "maximum", [48, 40, 12], 12,
    )  # fmt: skip
    assert "paper" not in figures and "cluster" not in figures


def test_a_second_command_is_timed_in_turn_with_ours(figures):
    against = figures["against"]
    pairs = zip(against["command_seconds"], against["our_seconds"], strict=True)
    ratios = [theirs / own for theirs, own in pairs]
    assert len(ratios) == 3
    assert against["ratio"] == pytest.approx(statistics.median(ratios))


def test_the_summary_gives_median_quartiles_and_the_share_of_the_matrix_product():
    measured = {
        "height": 256, "width": 256, "seconds_per_slice": [1.0, 2.0, 3.0, 4.0, 100.0],
        "flop_per_slice": 6_000_000, "matrix_flop_per_second": 8_000_000.0,
    }  # fmt: skip
    found = summary(measured)
    assert found["seconds_per_slice"] == 3
    assert found["seconds_per_slice_quartiles"] == [2, 4]
    assert found["share_of_matrix_speed"] == pytest.approx(0.25)


def test_arithmetic_is_counted_as_two_per_multiply_add():
    import torch

    from MedFusionLib.evaluation.speed.child import count_flop

    class OneConvolution:
        name, stride = "one convolution", 1
        weight = torch.ones(8, 1, 3, 3)

        def fuse(self, reference, other, slice_indices=None):
            return torch.nn.functional.conv2d(reference, self.weight, padding=1).mean(1, True)

    slices = (torch.rand(2, 1, 48, 40), torch.rand(2, 1, 48, 40))
    counted = count_flop(OneConvolution(), slices, "float32", torch.device("cpu"))
    assert counted == 2 * (48 * 40) * 8 * 9


@pytest.mark.parametrize(("text", "size"), [("256", (256, 256)), ("512x300", (512, 300))])
def test_sizes_are_height_by_width(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0x4", "ax4", "1x2x3"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match="256x256"):
        parse_size(text)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-program --fast", "cannot be started"),
        (f"{sys.executable} -c 'raise SystemExit(\"it broke\")'", "it broke"),
        ("", "empty"),
    ],
)
def test_a_second_command_that_fails_is_told_in_a_sentence(command, words):
    setting = Setting("maximum", 16, 16, 1, "cpu", "float32", 1)
    with pytest.raises(InputError, match=words):
        run_against(command, setting)


def test_the_second_command_is_no_shell_line(tmp_path):
    trace = tmp_path / "trace"
    echo = shlex.join([sys.executable, "-c", "pass"])
    run_against(f"{echo} ; touch {trace}", Setting("maximum", 16, 16, 1, "cpu", "float32", 1))
    assert not trace.exists()


def test_the_results_page_is_written_from_the_json_alone(figures, tmp_path):
    (tmp_path / "results").mkdir()
    row = {"method": "maximum", "published": False, "mean_rank": 1.0, "Qabf": 0.7517}
    filler = dict.fromkeys(
        (
            f"{name}{end}"
            for name in (
                "EN",
                "SD",
                "SF",
                "AG",
                "MI",
                "SCD",
                "VIF",
                "Qabf",
                "SSIM",
                "PSNR",
                "CC",
                "MSE",
            )
            for end in ("", "_low", "_high")
        ),
        2.0,
    )
    measures = dict.fromkeys(SIDE_MEASURES, None)
    board = {
        "version": "1", "device": "CPU", "precision": "float32",
        "weights_sha256": {"maximum": None, "net": "cd" * 32},
        "tables": [{
            "title": "PET-MRI", "split": "dev", "definition_set": "A", "pairs": 3,
            "patients": ["p", "q"], "rows": [filler | measures | row],
        }],
    }  # fmt: skip
    (tmp_path / "results/leaderboard.json").write_text(json.dumps(board))
    one = {"seconds": 8.0, "cpu_seconds": 16.0, "peak_bytes": 2**31, "threads": 2}
    forms = {"straightforward": [one, one], "ours": [one | {"cpu_seconds": 4.0}] * 2}
    ratios = {"ratio_cpu_seconds": 0.25, "ratio_peak_bytes": 1.0}
    batch = {"seconds": 31.0, "cpu_seconds": 60.0, "case_seconds": [10.0, 11.0, 12.0]}
    more = {
        "paper": [{"method": "net", "preset": "paper", "side": 256, **forms, **ratios}],
        "cluster": {
            "cases": 3, "slices": 90, "method": "guided-filter", "plain": [batch],
            "cluster": [batch], "ratio_of_cases": 1.0125, "ratio_of_processes": 1.0875,
        },
    }  # fmt: skip
    (tmp_path / "results/benchmark.json").write_text(json.dumps(figures | more))
    (tmp_path / "results/benchmark_avx2.json").write_text(json.dumps(figures))
    change = {"method": "net", "capability": "avx2", "threads": 1}
    change |= {"cpu_seconds": [0.5, 0.125], "seconds": [0.4, 0.3]}
    changes = {"note": "Measured in turn.", "rows": [change]}
    (tmp_path / "results/speed_changes.json").write_text(json.dumps(changes))
    write_results(["--docs", str(tmp_path)])
    page = (tmp_path / "RESULTS.md").read_text()
    assert "| net | avx2 | 1 | 500.0 | 125.0 | 0.25 | 400.0 | 300.0 | 0.75 |" in page
    assert "Measured in turn." in page and "## Speed on AVX2" in page
    assert "| net | 16 | 4 | 0.25 | 2048 | 2048 | 1 |" in page
    assert "1.012" in page and "1.087" in page
    for word in ("PET-MRI", "3 pairs of 2 patients, split dev", "0.7517", "cd" * 32, "## Speed"):
        assert word in page
