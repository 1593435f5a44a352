"""The verbs for language models: `chat` and `generate`. `cli.py` adds them to the others."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from brainc import speak
from brainc.compiler import Request, check_level
from brainc.language import BITS, LIMITS
from brainc.native import THREADS
from brainc.target import all_targets, load_target

F = TypeVar("F", bound=Callable[..., Any])
BASE = "c99"  # runs anywhere
_PASSED = ("prompt", "system", "tokens", "temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "threads")


def setting(key: str) -> Callable[[str], float]:
    """Reads a number within the limits that a manifest has to keep to, too."""
    kind, least, most = LIMITS[key]

    def number(text: str) -> float:
        try:
            found = kind(text)
        except ValueError:
            found = float("nan")
        if not least <= found <= most:
            raise click.BadParameter(f"{text} is not a number from {least} to {most}")
        return found

    return number


def sizes(context: int | None, kv: str | None) -> dict[str, int]:
    """What the user says of a graph's sizes."""
    said = {"context": context, "kv": BITS[kv] if kv else None}
    return {key: size for key, size in said.items() if size is not None}


def sized(function: F) -> F:
    """The options that a language model is built with."""
    context = click.option("--context", type=click.IntRange(1), help="Tokens that a language model remembers.")
    bits = "Bits of a number that a language model remembers: 16 (f16 means the same) or 8."
    kv = click.option("--kv", type=click.Choice([*BITS]), help=bits)
    return context(kv(function))


def spoken(function: F) -> F:
    """The options of a program that writes."""
    for decorate in reversed(
        (
            click.argument("source", type=click.Path(path_type=Path)),
            click.option("--tokens", type=click.IntRange(1), help="Write at most so many."),
            click.option("--temperature", type=setting("temperature"), help="0: always the likeliest token."),
            click.option("--top-k", type=setting("top_k"), help="Only the so many likeliest tokens; 0: all."),
            click.option("--top-p", type=setting("top_p"), help="Only the likeliest that have this share."),
            click.option("--min-p", type=setting("min_p"), help="None so much less likely than the likeliest."),
            click.option("--repeat-penalty", type=setting("repeat_penalty"), help="Makes what was said rarer; 1: not."),
            click.option("--seed", type=setting("seed"), help="The same seed, the same text, on every machine."),
            click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; may be repeated."),
            click.option("--threads", type=click.IntRange(1, THREADS), help="Default: one for each processor."),
            click.option("--isa", metavar="LEVEL", help="Force lower kernels: portable, avx2 …"),
            click.option("-t", "--target", help="Default: the best for this machine."),
            click.option("--json", "as_json", is_flag=True, help="One JSON object: text, tokens, rates, hash."),
        )
    ):
        function = decorate(function)
    return sized(function)


def arguments(options: Mapping[str, Any]) -> Iterator[str]:
    """The command line of the program."""
    for name in (name for name in _PASSED if options.get(name) is not None):
        yield from (f"--{name.replace('_', '-')}", str(options[name]))
    for text in options["stop"]:
        yield from ("--stop", text)
    yield from ("--isa", options["isa"]) if options["isa"] else ()
    yield from ("--json",) if options["as_json"] else ()


def _here() -> str:
    """The target for the machine that this runs on."""
    return next((t.name for t in all_targets() if platform.machine() in t.machines), BASE)


def _run(source: Path, target: str | None, options: Mapping[str, Any], chats: bool = False) -> None:
    request, target = Request(source, shapes=sizes(options["context"], options["kv"])), target or _here()
    check_level(load_target(target), options["isa"])  # which the program is told: one has all of them
    program = speak.program(request, target, lambda line: click.echo(line, err=True), chats=chats)
    speak.run(program, [*arguments(options)])


@click.command()
@spoken
@click.option("--system", help="Who the model is to be.")
def chat(source: Path, target: str | None, **options: Any) -> None:
    """Talk with a language model; builds it on first use. Ctrl-D ends."""
    _run(source, target, options, chats=True)


@click.command()
@spoken
@click.option("--prompt", required=True, help="The text to continue.")
def generate(source: Path, target: str | None, **options: Any) -> None:
    """Let a language model continue a text; builds it on first use."""
    _run(source, target, options)


VERBS = (chat, generate)
