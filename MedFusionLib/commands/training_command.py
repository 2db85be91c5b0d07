"""A command line of a training run, made of the fields of its settings."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import typer

from MedFusionLib.errors import InputError
from MedFusionLib.training.settings import Course, Hardware

TYPES: dict[str, Any] = {"str": str, "int": int, "float": float, "tuple[str, ...]": list[str]}
"""What typer calls the types of the settings' fields."""


def training_command(
    settings_class: type[Course], module: str, train: str, text: str
) -> Callable[..., None]:
    """The function that typer turns into a command: one option per field.

    ``module.train(settings, folder, hardware, resume)`` is imported when the command runs; it
    writes the weights and returns their path. ``text`` is the command's help.
    """

    def command(**options: Any) -> None:
        folder, resume = options.pop("output"), options.pop("resume")
        hardware = Hardware(**{field.name: options.pop(field.name) for field in fields(Hardware)})
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
        }
        weights = _imported(module, train)(settings_class(**values), folder, hardware, resume)
        print(f"Wrote {weights}")

    parameters = [*_own_parameters(), *_parameters(settings_class), *_parameters(Hardware)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = text
    return command


def _imported(module: str, name: str) -> Callable[..., Path]:
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise InputError(
            f"Training needs more packages ({error}). Run: pip install 'medfusion[train]'."
        ) from error


def _own_parameters() -> Iterator[inspect.Parameter]:
    yield _parameter("output", Path, typer.Option(..., "-o", "--output", help="The run's folder."))
    resume = typer.Option(False, "--resume", help="Go on from the last checkpoint.")
    yield _parameter("resume", bool, resume)


def _parameters(settings_class: type) -> Iterator[inspect.Parameter]:
    for field in fields(settings_class):
        yield _parameter(field.name, TYPES[str(field.type)], _option(field))


def _option(field: Field[Any]) -> Any:
    return typer.Option(
        ... if field.default is MISSING else field.default,
        field.metadata["flag"] or "--" + field.name.replace("_", "-"),
        help=field.metadata["help"],
        min=field.metadata["min"],
    )


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
