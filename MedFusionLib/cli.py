"""The command line ``medfusion``: assembles the commands and turns errors into sentences."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any

import typer

from MedFusionLib.commands import (
    align,
    batch,
    benchmark,
    demo,
    evaluate,
    finer_study,
    fuse,
    import_weights,
    methods,
    misalignment,
    registration_study,
    stream,
    synthesise,
    train,
)
from MedFusionLib.computing.device import let_threads_wait
from MedFusionLib.errors import sentence_of
from MedFusionLib.outputs import bug_sentence
from MedFusionLib.version import __version__

BAD_INPUT = 2
BUG = 3
INTERRUPTED = 130

app = typer.Typer(
    help="Fuse an MR volume with a CT, PET or SPECT volume. Research use only, not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("fuse")(fuse.fuse_command)
app.command("align")(align.align_command)
app.command("batch")(batch.batch_command)
app.command("demo")(demo.demo_command)
app.command("methods")(methods.methods_command)
app.command("evaluate")(evaluate.evaluate_command)
app.command("finer-study")(finer_study.finer_study_command)
app.command("benchmark")(benchmark.benchmark_command)
app.command("misalignment")(misalignment.misalignment_command)
app.command("registration-study")(registration_study.registration_study_command)
app.command("stream")(stream.stream_command)
app.command("synthesise")(synthesise.synthesise_command)
app.add_typer(train.app, name="train")
app.add_typer(import_weights.app, name="import-weights")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"medfusion {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Options that stand before the command."""


def _interrupt(signal_number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; the exit code is 2 for bad input, 3 for a bug, 130 after Ctrl-C.

    This is the one place that turns errors into what a user sees.
    """
    # A polite kill ends like Ctrl-C: temporary files are removed on the way out.
    signal.signal(signal.SIGTERM, _interrupt)
    let_threads_wait()
    _let_libraries_be_silent()
    try:
        app()
    except SystemExit as end:
        # Typer turns KeyboardInterrupt into this exit code, without a word.
        if end.code == INTERRUPTED:
            print("Interrupted: nothing was written.", file=sys.stderr)
        raise
    except Exception as error:
        sentence = sentence_of(error)
        print(f"medfusion: {sentence or bug_sentence(error)}", file=sys.stderr)
        sys.exit(BAD_INPUT if sentence else BUG)


def _let_libraries_be_silent() -> None:
    """Hints of libraries to programmers are no news for a user; real trouble is raised."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


if __name__ == "__main__":
    main()
