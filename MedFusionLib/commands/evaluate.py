"""``medfusion evaluate``: the leader board of slice pairs, or the scores of one fused volume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from MedFusionLib.commands.common import GEOMETRY_HELP, print_json, progress_bar, say
from MedFusionLib.commands.downstream import evaluate_downstream
from MedFusionLib.errors import InputError
from MedFusionLib.methods import method_card, slice_method_names
from MedFusionLib.outputs import refuse_collisions

if TYPE_CHECKING:
    from MedFusionLib.evaluation.pairs import Pair, Published


BASELINES = ("average", "maximum")
WRITTEN = (
    *("pairs.csv", "leaderboard.json", "report.html", "scores.json"),
    *("legibility.json", "lesions.csv", "pictures.csv"),
    *("downstream.json", "downstream.md", "downstream.html"),
)
"""What is written into the folder of the results."""


def evaluate_command(
    pairs: Path | None = typer.Option(
        None, help="CSV of slice pairs: pair_id, set, patient, split, mri, other."
    ),
    split: str | None = typer.Option(
        None, help="Split of the table to score, or all. Without it dev; --downstream: all."
    ),
    published: Path | None = typer.Option(
        None, help="Folder with mapping.csv and the images that other authors published."
    ),
    reference: Path | None = typer.Option(None, help="Reference: a volume, or a folder of images."),
    other: Path | None = typer.Option(None, help="Other: a volume, or a folder of images."),
    further: list[Path] = typer.Option(
        [], help="A further volume that --legibility fuses with the two; may be repeated."
    ),
    fused: Path | None = typer.Option(None, help="Fused: a volume, or a folder of images."),
    methods: str = typer.Option(
        "all", help="Methods to score beside average and maximum, with commas between, or all."
    ),
    sets: str = typer.Option("all", help="Sets to score, with commas between, or all."),
    output: Path | None = typer.Option(None, "--output", "-o", help="Folder for the results."),
    device: str = typer.Option("auto", help="auto, cpu, cuda:0, …"),
    precision: str = typer.Option("auto", help="auto, float32, bfloat16 or float16."),
    window_a: str = typer.Option("auto", help="Window of the reference volume."),
    window_b: str = typer.Option("auto", help="Window of the other volume."),
    plane: str = typer.Option("axial", help="Plane in which a volume is scored."),
    legibility: bool = typer.Option(
        False, "--legibility", help="Judge also what a reader sees: lesions, bone, uptake, edges."
    ),
    sample: int | None = typer.Option(
        None,
        min=1,
        help="Evenly spaced pairs of each set for --legibility, of each patient for --downstream; "
        "without it, all.",
    ),
    downstream: bool = typer.Option(
        False,
        "--downstream",
        help="Instead of scores: predict the class of disease (column diagnosis of --pairs) from "
        "sources and fused slices, with whole patients left out.",
    ),
    tformer_epochs: int = typer.Option(
        0, min=0, help="With --downstream, epochs of a compact TFormer over both sources; 0: none."
    ),
    metadata: str | None = typer.Option(
        None,
        help="With --tformer-epochs, columns of --pairs that tell of the patient, such as age,sex: "
        "TFormer is tried with them, too.",
    ),
    geometry: str | None = typer.Option(None, help=GEOMETRY_HELP),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print errors only."),
    as_json: bool = typer.Option(False, "--json", help="Print the scores as JSON."),
) -> None:
    """Score fusion methods on slice pairs, or one fused volume against its sources.

    Pairs come from a table (--pairs), or from two folders of equally named images (--reference,
    --other). A folder of fused images (--fused) is scored beside the methods.
    """
    volumes = not downstream and _wants_volumes(pairs, reference, other)
    names = _method_names(methods)
    if output is not None:
        _refuse_bad_folder(output)
        written = {f"{name} in --output": output / name for name in WRITTEN}
        mapping = published / "mapping.csv" if published else None
        refuse_collisions(written, (pairs, mapping, reference, other, *further, fused))
    windows, used = (window_a, window_b), (device, precision)
    columns = [name.strip() for name in (metadata or "").split(",") if name.strip()]
    if downstream:
        _refuse_beside_downstream(
            {"--legibility": legibility, "--published": published, "--reference": reference,
             "--other": other, "--fused": fused, "--further": further}
        )  # fmt: skip
        evaluate_downstream(
            pairs, split or "all", sets, sample, names, tformer_epochs, columns, used, output,
            quiet, as_json,
        )  # fmt: skip
        return
    for option, given in (("--tformer-epochs", tformer_epochs), ("--metadata", columns)):
        if given:
            raise InputError(f"{option} belongs to --downstream. Add that, or leave it out.")
    split = split or "dev"
    if volumes and legibility and fused is None:
        assert reference is not None and other is not None
        paths = [reference, other, *further]
        _judge_volumes(paths, names, windows, plane, output, used, quiet, as_json)
        return
    if further:
        raise InputError(
            "Further volumes are judged by --legibility beside two volumes, without --fused."
        )
    if volumes:
        named = reference, other, fused
        _evaluate_volume(named, windows, plane, geometry, legibility, output, quiet, as_json)
        return
    if output is None:
        raise InputError("Say where the results go: --output FOLDER.")
    chosen, results = _pairs_and_published(pairs, split, published, reference, other, fused, sets)
    described = {
        "pairs": str(pairs or f"{reference} and {other}"),
        "split": split if pairs else "none (two folders of images)",
    }
    from MedFusionLib.evaluation.pairs import sampled

    judged = sampled(chosen, sample) if legibility else None
    _evaluate_pairs(chosen, results, names, output, used, described, judged, quiet, as_json)


def _refuse_beside_downstream(given: dict[str, Any]) -> None:
    for option, value in given.items():
        if value:
            raise InputError(
                f"--downstream looks at the methods on the pairs of a table alone: leave {option} "
                "out, or run it without --downstream."
            )


def _wants_volumes(pairs: Path | None, reference: Path | None, other: Path | None) -> bool:
    """Whether --reference and --other name volumes and not folders of images."""
    from MedFusionLib.evaluation.pairs import is_image_folder

    if (pairs is None) == (reference is None or other is None):
        raise InputError(
            "Name what to score: either --pairs TABLE, or both --reference and --other."
        )
    return reference is not None and not is_image_folder(reference)


def _method_names(wanted: str) -> list[str]:
    if wanted == "all":
        return list(slice_method_names())
    asked = [method_card(name.strip()).name for name in wanted.split(",") if name.strip()]
    # The trivial baselines stand in every table, so that no method is judged without them.
    return list(dict.fromkeys([*BASELINES, *asked]))


def _pairs_and_published(
    table: Path | None,
    split: str,
    published: Path | None,
    reference: Path | None,
    other: Path | None,
    fused: Path | None,
    sets: str,
) -> tuple[list[Pair], list[Published]]:
    from MedFusionLib.evaluation import pairs as sources

    if table is not None:
        chosen = sources.of_sets(sources.read_pairs(table, split), sets)
    else:
        assert reference is not None and other is not None
        chosen = sources.pairs_of_folders(reference, other)
    results = sources.read_published(published, chosen) if published else []
    if fused is not None:
        results += sources.published_of_folder(fused, chosen)
    return chosen, results


def _evaluate_pairs(
    pairs: list[Pair],
    published: list[Published],
    names: list[str],
    output: Path,
    wanted: tuple[str, str],
    described: dict[str, Any],
    judged: list[Pair] | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from MedFusionLib.computing.device import choose_device, choose_precision
    from MedFusionLib.evaluation.evaluate import evaluate_pairs, judge_legibility, write_evaluation
    from MedFusionLib.evaluation.leaderboard import tables_as_json
    from MedFusionLib.evaluation.screen import print_figures, print_tables

    _refuse_bad_folder(output)
    device = choose_device(wanted[0])
    precision = choose_precision(wanted[1], device.device)
    described |= {"device": device.title, "precision": precision}
    with progress_bar(quiet) as progress:
        evaluation = evaluate_pairs(
            pairs, published, names, described["split"], device, precision, progress
        )
        if judged is not None:
            evaluation = judge_legibility(
                evaluation, judged, published, names, device, precision, progress
            )
    write_evaluation(evaluation, output, "MedFusion leader board", described)
    if as_json:
        print_json({"tables": tables_as_json(evaluation.tables)})
    elif not quiet:
        print_tables(evaluation.tables)
        if evaluation.legibility is not None:
            print_figures(evaluation.legibility.tables)
    say(f"Wrote leaderboard.json, report.html and the tables behind them to {output}.", quiet)


def _judge_volumes(
    paths: list[Path],
    methods: list[str],
    windows: tuple[str, str],
    plane: str,
    output: Path | None,
    used: tuple[str, str],
    quiet: bool,
    as_json: bool,
) -> None:
    """Put balls into each of the volumes and fuse them with each method."""
    from MedFusionLib.evaluation.legibility.board import board_as_json, write_board
    from MedFusionLib.evaluation.legibility.volume_judge import judge_volumes
    from MedFusionLib.evaluation.screen import print_figures
    from MedFusionLib.volumes.files import read_volume

    if output is None:
        raise InputError("Say where the results go: --output FOLDER.")
    _refuse_bad_folder(output)
    options = {
        "device": used[0],
        "precision": used[1],
        "plane": plane,
        "window_reference": None if windows[0] == "auto" else windows[0],
        "window_other": [
            None if windows[1] == "auto" else windows[1],
            *[None] * len(paths[2:]),
        ],
    }
    with progress_bar(quiet) as progress:
        volumes = [read_volume(path) for path in paths]
        board = judge_volumes(volumes, methods, options, progress)
    described = {
        "split": " and ".join(map(str, paths)),
        "sample": f"{len(paths)} volumes",
        "device": used[0],
        "precision": used[1],
    }
    output.mkdir(exist_ok=True)
    write_board(board, output, described)
    if as_json:
        print_json(board_as_json(board, described))
    elif not quiet:
        print_figures(board.tables)
    say(f"Wrote legibility.json, lesions.csv and pictures.csv to {output}.", quiet)


def _refuse_bad_folder(output: Path) -> None:
    """Before the work starts: a folder for results is one, or can be made."""
    from MedFusionLib.outputs import refuse_unwritable_folder

    if output.is_file():
        raise InputError(f"'{output}' is a file. Name a folder for the results.")
    refuse_unwritable_folder(output if output.is_dir() else output.parent)


def _evaluate_volume(
    paths: tuple[Path | None, Path | None, Path | None],
    windows: tuple[str, str],
    plane: str,
    geometry: str | None,
    legibility: bool,
    output: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from MedFusionLib.evaluation.volume_files import judge_files, score_files, write_scores

    reference, other, fused = paths
    if reference is None or other is None or fused is None:
        raise InputError(
            "A volume is scored from three files: --reference, --other and --fused. Without a "
            "fused one, --legibility judges the methods on the other two."
        )
    if output is not None:
        _refuse_bad_folder(output)
    report = score_files(reference, other, fused, windows, plane, geometry)
    if legibility:
        report["legibility"] = judge_files(reference, other, fused, windows, geometry)
    if output is not None:
        write_scores(report, output)
        say(f"Wrote scores.json and report.html to {output}.", quiet)
    if as_json or output is None:
        print_json(report)
