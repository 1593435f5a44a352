"""The dictionary: what every op means.

An op is one file in this folder: a signature line, a numpy function that *is* the meaning, and sample
cases. The interpreter, constant folding, shape checks, kernel tests and the C call sites all read the
same three things, so a new op is a new file and nothing is registered by hand.

Signature: `x[M,K] w[N,K]c b[N]c? -> y[M,N]:i32`. Dims are names bound across operands; `[...]` is any
shape (its number of elements is bound as `E`, that of `[...2]` as `E2`); `[]` a scalar. After the
bracket: `c` constant, `?` optional, `!` mutated, `*` any number of these. `:dtype` fixes a type; else
that of an output is the first operand's. A `result` rule says what a signature cannot; it takes types
where the meaning takes arrays. Ops whose name starts with `q` are exact on integers. One marked `bits` computes with
reals and is exact all the same: its meaning is float32 with a declared order of every sum (`lanes.py`). One marked
`fresh` reads of a state only what was written since the brain forgot, so that nobody need clear it.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from brainc.dtypes import DTYPES
from brainc.dtypes import Array as Array
from brainc.errors import KernelError, ModelError, UnsupportedError
from brainc.ir import Attr, Attrs
from brainc.ir import TensorType as TensorType

Rng = np.random.Generator
Ints = tuple[int, ...]
Case = tuple[list[Array | None], dict[str, Attr]]
Cases = Iterator[Case]
MakeCases = Callable[[Rng], Cases]
ResultRule = Callable[..., TensorType | None]
NONE: Attrs = {}
# the numbers of a sum in which an op may end, as its attribute `residual`: its own result is a, r is b
RESIDUAL = ("za", "zb", "ma", "mb", "sa", "sb", "left", "mult", "shift", "zy", "lo", "hi")
_OPERAND = re.compile(r"(?P<name>\w+)\[(?P<dims>[^\]]*)\](?P<flags>[c?!*]*)(?::(?P<dtype>\w+))?$")


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand of a signature."""

    name: str
    dims: tuple[str, ...]  # names or numbers; ("...",) for any shape
    constant: bool
    optional: bool
    mutated: bool
    variadic: bool
    dtype: str | None


def parse_operand(text: str) -> Operand:
    match = _OPERAND.match(text)
    if match is None:
        raise KernelError(f"cannot read operand {text!r} in an op signature", fix="write name[D1,D2]flags")
    dims = tuple(d.strip() for d in match["dims"].split(",") if d.strip())
    flags = match["flags"]
    return Operand(match["name"], dims, "c" in flags, "?" in flags, "!" in flags, "*" in flags, match["dtype"])


def parse_signature(text: str) -> tuple[tuple[Operand, ...], tuple[Operand, ...]]:
    """(inputs, outputs) of a signature line."""
    left, arrow, right = text.partition("->")
    if not arrow:
        raise KernelError(f"no '->' in op signature {text!r}", fix="write inputs -> outputs")
    return tuple(parse_operand(t) for t in left.split()), tuple(parse_operand(t) for t in right.split())


@dataclass(slots=True)
class Op:
    """An op: its operands, its meaning, and how its result types follow from its operands'."""

    name: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    meaning: Callable[..., Any]
    defaults: Mapping[str, Any]  # `inspect.Parameter.empty` where there is none
    macs: str = "0"  # multiply-accumulates, a formula over the dims
    rule: ResultRule | None = None
    make_cases: MakeCases | None = field(default=None, repr=False)
    bits: bool = False
    fresh: bool = False

    @property
    def exact(self) -> bool:
        """Ops on integers, and those marked so, agree to the bit on every machine; others within a tolerance."""
        return self.name.startswith("q") or self.bits

    def cases(self, make: MakeCases) -> None:
        """Decorator: odd sizes, extremes, saturation; every kernel of this op is tested on these."""
        self.make_cases = make

    def result(self, rule: ResultRule) -> None:
        """Decorator: the result's type (None: no result), where the signature alone does not say it."""
        self.rule = rule

    def full(self, given: Attrs) -> dict[str, Attr]:
        """The attributes with their defaults filled in; an unknown or missing one is an error."""
        unknown = set(given) - set(self.defaults)
        missing = {k for k, v in self.defaults.items() if v is inspect.Parameter.empty} - set(given)
        if unknown or missing:
            names = ", ".join(sorted(unknown | missing))
            raise KernelError(
                f"op {self.name}: attributes unknown or missing: {names}",
                fix=f"it takes {', '.join(self.defaults) or 'none'}",
            )
        return {**self.defaults, **given}

    def operand_at(self, index: int) -> Operand:
        """The signature's operand for input number `index` (a variadic one repeats)."""
        if index < len(self.inputs):
            return self.inputs[index]
        if self.inputs and self.inputs[-1].variadic:
            return self.inputs[-1]
        raise KernelError(f"op {self.name} takes {len(self.inputs)} operands", fix="remove the surplus ones")

    def bind(self, ins: Sequence[TensorType | None], outs: Sequence[TensorType] = ()) -> dict[str, int]:
        """Dimension names to sizes, from the operands' shapes; contradictions are errors."""
        dims: dict[str, int] = {}
        for index, type_ in enumerate(ins):
            if type_ is not None:
                self._bind_one(self.operand_at(index), type_, dims)
        for operand, out in zip(self.outputs, outs, strict=False):
            self._bind_one(operand, out, dims)
        return dims

    def _bind_one(self, operand: Operand, type_: TensorType, dims: dict[str, int]) -> None:
        if operand.dims and operand.dims[0].startswith("..."):
            dims.setdefault("E" + operand.dims[0][3:], type_.size)
            return
        if len(operand.dims) != len(type_.shape):
            raise ModelError(
                f"{self.name}: {operand.name} has shape {list(type_.shape)}, not [{','.join(operand.dims)}]",
                fix="check the model's shapes",
            )
        for name, size in zip(operand.dims, type_.shape, strict=True):
            known = int(name) if name.isdigit() else dims.setdefault(name, size)
            if known != size:
                raise ModelError(
                    f"{self.name}: {operand.name} has shape {list(type_.shape)}, but {name} is {known}",
                    fix="check the model's shapes",
                )

    def infer(self, ins: Sequence[TensorType | None], given: Attrs) -> tuple[TensorType, ...]:
        """The result types (without quantisation) for these operand types."""
        dims = self.bind(ins)
        if self.rule is not None:
            ruled = self.rule(*ins, **self.full(given))
            return () if ruled is None else (ruled,)
        first = next(t for t in ins if t is not None)
        results = []
        for out in self.outputs:
            dtype = DTYPES[out.dtype] if out.dtype else first.dtype
            shape = first.shape if out.dims == ("...",) else tuple(_size(d, dims) for d in out.dims)
            results.append(TensorType(dtype, shape))
        return tuple(results)

    def run(self, arrays: Sequence[Array | None], given: Attrs) -> tuple[Array, ...]:
        """The meaning, on numbers.

        float32 is worked out in float64 and rounded once at the end, so that the sums of one machine's matrix
        library are those of another's.
        """
        read = self.full(given)
        floats = [a is not None and a.dtype == np.float32 for a in arrays]
        if self.bits or any(o.mutated for o in self.inputs) or not any(floats):
            result = self.meaning(*arrays, **read)
            return tuple(result) if isinstance(result, tuple) else (result,)
        wide = [a.astype(np.float64) if f and a is not None else a for f, a in zip(floats, arrays, strict=True)]
        result = self.meaning(*wide, **read)
        results = result if isinstance(result, tuple) else (result,)
        return tuple(r.astype(np.float32) if r.dtype == np.float64 else r for r in results)


def _size(name: str, dims: Mapping[str, int]) -> int:
    return int(name) if name.isdigit() else dims[name]


def op(
    signature: str,
    *,
    macs: str = "0",
    shared: Attrs = NONE,
    result: ResultRule | None = None,
    bits: bool = False,
    fresh: bool = False,
) -> Callable[[Callable[..., Any]], Op]:
    """Decorator: makes an op of a numpy function; keyword-only parameters are its attributes.

    shared: further attributes with their defaults, which the meaning takes as `**`. bits, fresh: see above.
    """

    def make(meaning: Callable[..., Any]) -> Op:
        ins, outs = parse_signature(signature)
        parameters = inspect.signature(meaning).parameters.values()
        own = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        name = meaning.__name__.rstrip("_")
        return Op(name, ins, outs, meaning, {**own, **shared}, macs, result, bits=bits, fresh=fresh)

    return make


@cache
def all_ops() -> Mapping[str, Op]:
    """Every op, found by looking into this folder."""
    found: dict[str, Op] = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda i: i.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found.update({o.name: o for o in vars(module).values() if isinstance(o, Op)})
    return found


def get(name: str) -> Op:
    """The op called `name`."""
    known = all_ops()
    if name not in known:
        raise UnsupportedError(f"there is no op {name!r}", fix="known ops: " + ", ".join(known))
    return known[name]


def ints(attr: Attr) -> tuple[int, ...]:
    """An attribute that is a list of integers."""
    assert isinstance(attr, tuple)
    return tuple(int(n) for n in attr)
