"""The door: what a user types. Each verb reads its words, calls the library, prints; nothing else.

Results go to standard output (one JSON object with `--json`), messages to standard error. Exit codes:
0 done, 2 the user's input, 3 a tool or device, 4 a proof failed, 70 a bug of ours.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from brainc import __version__, actions
from brainc.actions import Speed
from brainc.cli_language import VERBS, sized, sizes
from brainc.compiler import Request
from brainc.errors import BraincError, BugError, FitError, UserError, Where, WorldError
from brainc.formats import FORMATS
from brainc.native import THREADS
from brainc.target import PORTABLE

F = TypeVar("F", bound=Callable[..., Any])
PIPE_WIDTH = 160  # of tables that are not for a terminal
_seen = sys.stdout is not None and sys.stdout.isatty()  # None: it was closed by who called, and nobody is told
_out = Console(soft_wrap=True, highlight=False, markup=False, width=None if _seen else PIPE_WIDTH)
_err = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


def show_result(result: actions.Result, as_json: bool) -> None:
    """To people, or as one JSON object."""
    data, lines = result
    if as_json:
        click.echo(json.dumps(data, indent=2))
        return
    for line in lines:
        _out.print(line)


def note(line: str) -> None:
    """A message beside the result."""
    _err.print(line, style="dim")


def busy(text: str) -> AbstractContextManager[object]:
    """Something that moves while long work is done; on a terminal only."""
    return _err.status(text) if _err.is_terminal else nullcontext()


def _shapes(pairs: Sequence[str]) -> dict[str, int]:
    shapes = {}
    for pair in pairs:
        name, _, size = pair.rpartition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise UserError(f"--shape {pair} is not NAME=N", fix="write it like --shape time=49")
        shapes[name] = int(size)
    return shapes


def _request(source: Path, options: Mapping[str, Any]) -> Request:
    rest = {k: v for k, v in options.items() if k not in ("shape", "isa", "context", "kv")}
    portable = options["isa"] == PORTABLE.name
    shapes = _shapes(options["shape"]) | sizes(options["context"], options["kv"])
    return Request(source, shapes=shapes, portable=portable, isa=options["isa"], **rest)


def shared(function: F) -> F:
    """The options that every verb which compiles takes."""
    choice = click.Choice
    for decorate in reversed(
        (
            click.argument("source", type=click.Path(path_type=Path)),
            click.option(
                "--quantize",
                type=choice(["int8", "int4", "none"]),
                help="Default: as the model is. int4: weights of 4 bits, activations of 8.",
            ),
            click.option("--calibrate", metavar="FILE", help="Samples (.npz, .csv) for quantising, or 'random'."),
            click.option("--calibration", type=choice(["minmax", "percentile", "mse"]), help="How ranges are found."),
            click.option("--io", type=choice(["native", "int8"]), default="native", help="Types of the ports."),
            click.option("--layout", type=choice(["native", "nhwc"]), default="native", help="Order of image ports."),
            click.option("--shape", multiple=True, metavar="NAME=N", help="Size of a symbolic axis."),
            click.option(
                "--optimize", type=choice(["speed", "ram", "flash"]), default="speed", help="What matters most."
            ),
            click.option(
                "--stream",
                type=choice(["auto", "always", "never"]),
                default="auto",
                help="Layers row by row through line buffers; by itself where RAM is short.",
            ),
            click.option("--isa", metavar="LEVEL", help="Kernels up to this level; portable: none of the target's."),
            click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output."),
        )
    ):
        function = decorate(function)
    return sized(function)


_target = click.option("-t", "--target", required=True, help="A machine; see `brainc targets`.")
_targets = click.option("-t", "--target", "targets", multiple=True, required=True, help="May be repeated.")

_port = click.option("--port", metavar="P", help="The serial port of the board, like /dev/ttyACM0 or COM3.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="brainc")
def cli() -> None:
    """Compiles brains (modular neural models) to C for Arduino, Cortex-M and the desktop.

    SOURCE is a folder with brain.toml, that file itself, or a model file.
    """


@cli.command()
@shared
@_target
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Where the files go.")
@click.option("--format", "form", type=click.Choice([*FORMATS]), default="project", show_default=True)
def build(source: Path, target: str, output: Path, form: str, as_json: bool, **options: Any) -> None:
    """Write the C library and, for a board, the PlatformIO project.

    \b
    --format project             a board's PlatformIO project; elsewhere the library
             library             the C files alone
             arduino-library     one .zip for the Arduino IDE: Sketch, Include Library, Add .ZIP Library
             platformio-library  a folder for a PlatformIO project's lib/
             cmake               a static library to add or to install
    """
    with busy("compiling …"):
        try:
            result = actions.build(_request(source, options), target, output, form, note)
        except FitError as error:
            if as_json:
                click.echo(json.dumps({"target": target, "fit": dict(error.data)}, indent=2))
            raise
    show_result(result, as_json)


@cli.command()
@shared
@_target
@click.option("--input", "inputs", type=click.Path(path_type=Path), required=True, help="Samples, .npz or .csv.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the outputs go, .npz or .csv.")
def run(source: Path, target: str, inputs: Path, output: Path | None, as_json: bool, **options: Any) -> None:
    """Run the brain on inputs, here or in the target's simulator."""
    with busy("compiling and running …"):
        result = actions.run(_request(source, options), target, inputs, output, note)
    show_result(result, as_json)


@cli.command()
@shared
@_targets
@click.option("--samples", type=click.Path(path_type=Path), help="Vectors to prove with (default: the brain's).")
@click.option("--limit", type=click.IntRange(1), help="At most so many samples on each rung (default 20).")
@click.option("--quality", is_flag=True, help="Also compare with the float model, per layer and by the metric.")
@click.option("--metric", help="top1, auc_error, mse or FILE.py:function.")
@_port
def check(
    source: Path,
    targets: Sequence[str],
    samples: Path | None,
    limit: int | None,
    quality: bool,
    metric: str | None,
    port: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Prove it: the same bytes on every machine.

    Numpy reference, host C with sanitizers, target; with --port the board, too. A language model: all its kernels on
    this CPU, on any number of threads, and a hash of its logits that another machine can compare.
    """
    request = _request(source, options)
    with busy("proving …"):
        result = actions.check(request, targets, samples, limit, quality, metric, port, note)
    show_result(result, as_json)
    if not all(t["equal"] for t in result[0]["targets"].values()):
        sys.exit(4)


@cli.command()
@shared
@_target
@_port
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where the project goes (default: the cache).")
def flash(source: Path, target: str, port: str | None, output: Path | None, as_json: bool, **options: Any) -> None:
    """Build, upload to the board, and have it prove itself.

    PlatformIO builds and uploads; the board proves itself over Serial.
    """
    with busy("flashing …"):
        result = actions.flash(_request(source, options), target, port, output, note)
    show_result(result, as_json)
    if result[0]["equal"] is False:
        sys.exit(4)


@cli.command()
@shared
@_targets
@click.option("--samples", type=click.Path(path_type=Path), help="Inputs to measure with (default: the brain's).")
@click.option("--sim", help="One of the target's simulators, where it has several.")
@click.option("--threads", type=click.IntRange(1, THREADS), help="Of a language model; default: one a processor.")
@click.option("--depth", multiple=True, type=click.IntRange(0), help="Tokens before those that it writes; repeatable.")
def bench(
    source: Path,
    targets: Sequence[str],
    samples: Path | None,
    sim: str | None,
    threads: int | None,
    depth: Sequence[int],
    as_json: bool,
    **options: Any,
) -> None:
    """Measure speed and memory.

    Cycles or instructions, RAM, flash and stack, per layer and in all. A language model: tokens a second, memory, and
    the time until it speaks.
    """
    request = _request(source, options)
    with busy("measuring …"):
        result = actions.bench(request, targets, samples, sim, note, Speed(threads, tuple(depth)))
    show_result(result, as_json)


@cli.command()
@shared
@click.option("-t", "--target", default="c99", show_default=True)
@click.option("--at", "stage", type=click.Choice(["imported", "canonical", "quantized", "integer", "ready"]))
@click.option("--memory", is_flag=True, help="Who lives where, when.")
@click.option("--kernels", is_flag=True, help="Why each kernel was chosen.")
@click.option("--cost", is_flag=True, help="Work and memory of each step.")
def show(
    source: Path, target: str, stage: str | None, memory: bool, kernels: bool, cost: bool, as_json: bool, **options: Any
) -> None:
    """Show the graph, the memory picture, the choice of kernels."""
    with busy("compiling …"):
        result = actions.show(_request(source, options), target, stage, memory, kernels, cost, note)
    show_result(result, as_json)


@cli.command()
@click.option("--json", "as_json", is_flag=True)
def targets(as_json: bool) -> None:
    """List the machines to compile for."""
    show_result(actions.targets(), as_json)


@cli.command()
@click.option("--json", "as_json", is_flag=True)
def doctor(as_json: bool) -> None:
    """Tell which tools are here, and how to get the others."""
    show_result(actions.doctor(), as_json)


@cli.command()
@click.argument("kind", type=click.Choice(["brain", "op", "kernel", "target"]))
@click.argument("name")
def new(kind: str, name: str) -> None:
    """Write a skeleton that works, into this folder.

    Of a brain, op, kernel or target named NAME.
    """
    for path in actions.new(kind, name, Path.cwd()):
        _out.print(f"wrote {path}")


for verb in VERBS:
    cli.add_command(verb)


def main() -> None:
    """Runs a verb; an error of ours becomes its text and exit code, never a traceback."""
    try:
        cli(prog_name="brainc", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _err.print("stopped")
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        if os.environ.get("BRAINC_DEBUG", "0") != "0":
            raise
        told = _as_ours(error)
        _err.print(f"{type(told).__name__}  {told}", style="bold" if _err.is_terminal else None)
        sys.exit(told.exit_code)


def _as_ours(error: Exception) -> BraincError:
    """What the system or a slip of ours raised, as an error of ours."""
    match error:
        case BraincError():
            return error
        case MemoryError():
            return WorldError("not enough memory", fix="give fewer samples, or use a larger machine")
        case OSError():
            what, place = str(error.strerror or error), Where(file=str(error.filename or "the system"))
            return WorldError(what, fix="see that it is there, and may be read or written", where=place)
    return BugError(f"brainc broke: {type(error).__name__}: {error}", fix="please report it, with BRAINC_DEBUG=1")


if __name__ == "__main__":
    main()
