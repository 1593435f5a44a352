"""Templates look like the C they make: few Jinja words, little nesting, one page, one datatype."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import nodes

from brainc.dtypes import DTYPES
from brainc.emit import environment
from brainc.kernels import parse

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted(p for folder in ("templates", "targets") for p in (ROOT / folder).rglob("*.j2"))
INSIDE = {p: p.relative_to(ROOT) for p in TEMPLATES}  # whatever the folder around them is called
SHARED = [p for p in TEMPLATES if INSIDE[p].match("kernels/_*/*.c.j2")]
HOMES = ("templates/*/*.c.j2", "kernels/*/*.c.j2")
KERNELS = [p for p in TEMPLATES if p not in SHARED and any(INSIDE[p].match(home) for home in HOMES)]

LINES = 120
DEPTH = 3
# Names and their parts, for, if, include, whole numbers: what a reader of C understands at sight.
WORDS = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Include,
    nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Const, nodes.Tuple,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.FloorDiv, nodes.Mod, nodes.Neg,
    nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
)  # fmt: skip
TYPES = {*DTYPES, *(t.c for t in DTYPES.values())}


def tree(path: Path) -> nodes.Template:
    return environment(path.parent).parse(path.read_text(encoding="utf-8"))


def walk(node: nodes.Node, depth: int = 0) -> Iterator[tuple[nodes.Node, int]]:
    """Every node with the number of loops and conditions around it, itself among them."""
    inside = depth + isinstance(node, nodes.For | nodes.If)
    yield node, inside
    chained = node.elif_ if isinstance(node, nodes.If) else []  # no deeper than its first condition
    for child in node.iter_child_nodes():
        yield from walk(child, depth if any(child is c for c in chained) else inside)


def is_range(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_template_is_plain(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES
    for node, depth in walk(tree(path)):
        word = type(node).__name__
        assert isinstance(node, WORDS) or is_range(node), f"line {node.lineno}: {word} is not for templates"
        assert depth <= DEPTH, f"line {node.lineno}: {word} is nested {depth} deep"


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_kernel_has_a_head_and_one_datatype(path: Path) -> None:
    """`types` is one signature of known types, and nothing in the body asks which type it is."""
    kernel = parse(path.read_text(encoding="utf-8"), path.stem, path)
    assert kernel.op == path.parent.name
    assert {kind.removesuffix("?") for kind in (*kernel.ins, *kernel.outs)} <= {*DTYPES, "any", "-"}
    assert not any(isinstance(n, nodes.Const) and n.value in TYPES for n, _ in walk(tree(path)))
