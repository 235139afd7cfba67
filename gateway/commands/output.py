"""How commands speak: text for a person, or one JSON document for a script; errors are one line on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

WRONG_INPUT = 2
FAILED = 1


def emit(result: object, *, as_json: bool, text: str | Iterable[str]) -> None:
    """Print a result: the JSON document alone, or the text."""
    if as_json:
        sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")
        return
    for line in [text] if isinstance(text, str) else text:
        sys.stdout.write(line + "\n")


def stop(message: str, *, status: int = FAILED) -> NoReturn:
    """End the command with one line on stderr."""
    sys.stderr.write(f"openpriors: {message}\n")
    raise typer.Exit(status)


@contextmanager
def progress(what: str, *, quiet: bool, unit: str = "") -> Iterator[Any]:
    """A bar on a terminal, nothing in a pipe: gives `advance(done, total, note)`."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda *_: None
        return
    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, note="")

        def advance(done: int, total: int | None, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=f"{note} {unit}".strip())

        yield advance


def table(headings: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Columns in plain text, as wide as they need."""
    widths = [max(len(row[n]) for row in [headings, *rows]) for n in range(len(headings))]
    for row in [headings, *rows]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
