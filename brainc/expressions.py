"""Small formulas in kernel heads: `K % 16 == 0 and round == 'once'`, `2*K*KH`, `r*SH - PT`.

Read by `kernels.py` and `memory.py`. Parsed with `ast` and walked here, never evaluated as Python:
arithmetic, shifts, comparison, `and`/`or`/`not`, `a if c else b`, `min`, `max` and names are all there is. A name that
stands for a function is what the function returns: facts that are only looked for when a formula asks.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from brainc.errors import KernelError

Env = Mapping[str, Any]

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CALLS: dict[str, Callable[..., Any]] = {"min": min, "max": max}


@cache
def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise KernelError(f"cannot read the formula {text!r}", fix="mend the kernel's head") from error


def evaluate(text: str, env: Env) -> Any:
    """The value of a formula; names come from `env`."""
    return _value(_parse(text), env, text)


def unmet(text: str, env: Env) -> str:
    """Of a formula that does not hold: the first of its conditions that does not, and what its names are."""
    whole = _parse(text)
    parts = whole.values if isinstance(whole, ast.BoolOp) and isinstance(whole.op, ast.And) else [whole]
    part = next((p for p in parts if not _value(p, env, text)), whole)
    names = sorted({n.id for n in ast.walk(part) if isinstance(n, ast.Name) and n.id in env})
    return f"{ast.unparse(part)}, but {', '.join(f'{name} is {_found(env[name])}' for name in names)}"


def _found(fact: Any) -> Any:
    return fact() if callable(fact) else fact


def _value(node: ast.expr, env: Env, text: str) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str() | bool() as value):
            return value
        case ast.Name(id=name):
            if name not in env:
                raise KernelError(
                    f"formula {text!r} uses {name}, which is not known here", fix="known: " + ", ".join(sorted(env))
                )
            return _found(env[name])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, env, text), _value(right, env, text))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, env, text)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, env, text)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(v, env, text) for v in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_value(v, env, text) for v in values)
        case ast.IfExp(test=test, body=body, orelse=other):
            return _value(body if _value(test, env, text) else other, env, text)
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(type(o) in _COMPARE for o in ops):
            terms = [_value(v, env, text) for v in (left, *rest)]
            pairs = zip(ops, terms, terms[1:], strict=False)
            return all(_COMPARE[type(o)](a, b) for o, a, b in pairs)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _CALLS:
            return _CALLS[name](*(_value(a, env, text) for a in args))
    raise KernelError(f"the formula {text!r} uses more than arithmetic and comparison", fix="mend the kernel's head")
