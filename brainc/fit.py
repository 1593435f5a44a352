"""Does it fit? Asked after compiling and before anything is written; a no comes with what would help, tried.

`judge` lays what the brain takes (measured, see `footprint`) and the board's own code beside what the machine has;
`require` raises FitError with the peak and with each change that would help: each was compiled, and measured where
it could fit. A trial costs as much as a build, so there are few: one flag at a time, then all that helped together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from brainc import footprint, link, memory
from brainc.compiler import RANDOM, Job, compile_job, is_float, prepare
from brainc.errors import BraincError, FitError
from brainc.footprint import Footprint
from brainc.program import Program
from brainc.target import Target, all_targets

MACHINES = 3  # others tried at most
ENDLESS = 1 << 32  # bytes: no limit worth telling
HEAVIEST = 3  # layers named where flash is short
_UNKNOWN = {"flash": "code", "ram": "stack"}
_PLANNED = ("weights", "arena", "state")


@dataclass(frozen=True, slots=True)
class Need:
    """What is to lie in one memory: `parts` in bytes, of which the first `own` bytes are the brain's."""

    space: str
    parts: Mapping[str, int]
    own: int
    room: int
    budget: int | None
    complete: bool  # nothing is an estimate

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def planned(self) -> int:
        """What is known of it without a compiler."""
        return sum(size for part, size in self.parts.items() if part in _PLANNED)

    @property
    def over(self) -> int:
        """Bytes too many, for the machine or for the budget of the brain itself; 0 if it fits."""
        return max(self.total - self.room, self.own - self.budget if self.budget is not None else 0, 0)


@dataclass(frozen=True, slots=True)
class Fit:
    """The verdict: a need for each memory, and what was not measured (empty: all was)."""

    needs: tuple[Need, ...]
    missing: str = ""

    @property
    def over(self) -> Mapping[str, int]:
        """Bytes too many by memory, where there are."""
        return {n.space: n.over for n in self.needs if n.over}

    @property
    def data(self) -> dict[str, Any]:
        """For report.json and --json."""
        told = {n.space: {"bytes": n.total, "limit": n.room, "parts": dict(n.parts)} for n in self.needs}
        return {"fits": not self.over, "measured": not self.missing, "missing": self.missing, **told}


def judge(job: Job, found: Footprint, *, budget: bool = True) -> Fit:
    """What a brain takes, and the board's own code, beside what its machine has."""
    brain = {
        "flash": {"weights": found.weights, "code": found.code},
        "ram": {"arena": found.arena, "state": found.state, "static": found.static, "stack": found.stack},
    }
    needs = []
    for name, parts in brain.items():
        space, allowed = job.target.spaces[name], getattr(job.choice.budget, name)
        known = {part: size for part, size in parts.items() if size or (size == 0 and part in ("weights", "arena"))}
        complete = None not in parts.values()
        board = {"sketch": space.board} if complete else {f"kept for sketch and {_UNKNOWN[name]}": space.reserve}
        shown = {**known, **{part: size for part, size in board.items() if size}}
        own = sum(size for size in parts.values() if size)
        needs.append(Need(name, shown, own, space.bytes, allowed if budget else None, complete))
    return Fit(tuple(needs), found.missing)


def require(job: Job, program: Program, found: Footprint, *, budget: bool = True) -> Fit:
    """The verdict if it fits; raises FitError, with the figures under `data`, if it does not."""
    fit = judge(job, found, budget=budget)
    if not fit.over:
        return fit
    many = " and ".join(f"{size:,} bytes of {space}" for space, size in fit.over.items())
    broken = "fit" if any(n.total > n.room for n in fit.needs) else "keep its budget on"
    told = [f"{program.name} does not {broken} {program.target.name}: {many} too many", *lines(fit)]
    told += [f"peak     {memory.peak(program.plan)}"] if "ram" in fit.over else []
    told += [f"note     {note}" for note in program.notes if "of ram" in note]  # what was done for it already
    told += [f"heaviest {_heaviest(program)}"] if "flash" in fit.over else []
    trials = _trials(job, fit, budget)
    fixes = [f"{trial.words}: {_compared(fit, trial.fit)}" for trial in trials]
    if not judge(job, found, budget=False).over:
        fixes.append(f"a larger budget in [target.{job.target.name}]: the machine itself has room")
    error = FitError("\n  ".join(told), fix="\n".join(fixes) or "a smaller model")
    error.data = {**fit.data, "tried": [{"change": t.words, **t.fit.data} for t in trials]}
    raise error


def lines(fit: Fit) -> Iterator[str]:
    """A line for each memory and each budget, and one for what was not measured."""
    for n in fit.needs:
        if n.room >= ENDLESS:
            continue
        parts = " + ".join(f"{part} {size:,}" for part, size in n.parts.items())
        yield f"{n.space:8} {n.total:,} of {n.room:,} bytes ({100 * n.total / n.room:.0f} %) = {parts}"
        if n.budget is not None:
            verdict = "ok" if n.own <= n.budget else f"OVER by {n.own - n.budget:,}"
            yield f"budget   {n.space} {n.own:,} of {n.budget:,}: {verdict}"
    if fit.missing:
        yield f"estimate {fit.missing}"


def budgets(job: Job, **used: int | None) -> dict[str, dict[str, Any]]:
    """What the manifest allows on this target against what is used (None: not measured); only what it limits."""
    limits = {name: getattr(job.choice.budget, name) for name in used}
    return {
        name: {"limit": limit, "used": used[name], "ok": None if used[name] is None else used[name] <= limit}
        for name, limit in limits.items()
        if limit is not None
    }


def _heaviest(program: Program) -> str:
    """The layers with most constants."""
    values = program.graph.values
    held = {n.name: sum(values[i].type.nbytes for i in n.operands if values[i].const) for n in program.graph.nodes()}
    most = sorted(held, key=lambda name: -held[name])[:HEAVIEST]
    return ", ".join(f"{name} {held[name]:,}" for name in most if held[name])


def _compared(fit: Fit, other: Fit) -> str:
    """What a change leads to: `ram 1,800 of 2,048 (-250), flash 9,000 of 32,256 (+30): fits`."""
    told = []
    for before, after in zip(fit.needs, other.needs, strict=True):
        tight = after.budget is not None and after.own > after.budget
        size, limit = (after.own, f"the {after.budget:,} allowed") if tight else (after.total, f"{after.room:,}")
        if not after.complete and after.planned > after.room:  # too much already: nobody measured the rest
            size, limit = after.planned, f"{after.room:,} before code and stack"
        told.append(f"{after.space} {size:,} of {limit} ({_change(before, after):+,})")
    over = ", ".join(f"{size:,} of {space} too many" for space, size in other.over.items())
    return f"{', '.join(told)}: {over or 'fits'}"


def _change(before: Need, after: Need) -> int:
    """Bytes more that a change takes; like is compared with like."""
    whole = before.complete and after.complete
    return after.own - before.own if whole else after.planned - before.planned


@dataclass(frozen=True, slots=True)
class _Change:
    """Something else to compile: other words on the command line, or a module's variant."""

    words: str
    request: Mapping[str, str] = field(default_factory=dict)
    variant: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class _Trial:
    """A change that was compiled, and what came of it."""

    change: _Change
    fit: Fit

    @property
    def words(self) -> str:
        return self.change.words


def _trials(job: Job, fit: Fit, budget: bool) -> list[_Trial]:
    """What would help, those that fit first; flags together where none does alone; a machine with more."""
    tried = (_tried(job, change, budget) for change in (*_variants(job), *_flags(job)))
    helped = [t for t in tried if t and any(_change(b, a) < 0 for b, a in _pairs(fit, t.fit) if b.over)]
    helped.sort(key=lambda t: bool(t.fit.over))
    flags = [t.change for t in helped if t.change.request]
    every = {key: word for change in flags for key, word in change.request.items()}
    if len(every) > 1 and helped[0].fit.over:
        words = " ".join(change.words for change in flags if change.request.items() <= every.items())
        together = _tried(job, _Change(words, every), budget)
        helped += [together] if together else []
    alone = any(need.total > need.room for need in fit.needs)  # not only a budget is broken
    return [*helped, *(_machines(job) if alone else ())]


def _pairs(fit: Fit, other: Fit) -> Iterator[tuple[Need, Need]]:
    return zip(fit.needs, other.needs, strict=True)


def _variants(job: Job) -> Iterator[_Change]:
    """Each variant of each module."""
    for name, module in job.brain.modules.items():
        for variant in module.variants:
            yield _Change(f'use = {{ {name} = "{variant}" }}', variant=(name, variant))


def _flags(job: Job) -> Iterator[_Change]:
    """Each word on the command line that may save something; the cheapest in quality first."""
    request, quantize = job.request, job.context.options.quantize
    for other in ("ram", "flash"):
        if request.optimize == "speed":
            yield _Change(f"--optimize {other}", {"optimize": other})
    if request.stream == "auto":
        yield _Change("--stream always", {"stream": "always"})
    entry = job.graph.entries[0]
    kinds = {job.graph.type(port).dtype.kind for port in (*entry.inputs, *entry.outputs)}
    if request.io == "native" and "float" in kinds:
        yield _Change("--io int8", {"io": "int8"})
    if is_float(job.graph):
        calibrate = request.calibrate or ("" if job.brain.calibrate or job.brain.samples else RANDOM)
        words = (("int8", quantize in (None, "none")), ("int4", not job.context.options.four))
        for word in (word for word, other in words if other):
            yield _Change(f"--quantize {word}", {"quantize": word, **({"calibrate": calibrate} if calibrate else {})})


def _tried(job: Job, change: _Change, budget: bool) -> _Trial | None:
    """Compiles a change, and measures it unless it cannot fit; None where it cannot be compiled at all."""
    try:
        other = _changed(job, change)
        return _Trial(change, _sized(other, compile_job(other), budget))
    except BraincError:
        return None


def _sized(job: Job, program: Program, budget: bool) -> Fit:
    """Its verdict, measured unless what is planned is too much already."""
    planned = judge(job, footprint.planned(program), budget=budget)
    hopeless = any(need.planned > need.room for need in planned.needs)
    return planned if hopeless else judge(job, footprint.measured(program), budget=budget)


def _changed(job: Job, change: _Change) -> Job:
    """The job with a change made."""
    name, variant = change.variant
    if variant:
        other = job.brain.modules[name].variants[variant]
        brain = replace(job.brain, modules={**job.brain.modules, name: other})
        graph = link.load_brain(replace(brain, targets={}), None, job.request.shapes)
        return replace(job, brain=brain, graph=graph)
    request = replace(job.request, **dict(change.request))  # type: ignore[arg-type]
    if change.request.keys() <= {"optimize", "stream"}:
        return replace(job, request=request)
    return replace(prepare(request, job.target.name), target=job.target)


def _machines(job: Job) -> Iterator[_Trial]:
    """The first machine that has room: kin before others, small before large."""
    others = [t for t in all_targets() if t.word < 64 and t.name != job.target.name]
    others.sort(key=lambda t: (-len(set(t.chain) & set(job.target.chain)), t.spaces["ram"].bytes))
    options = job.context.options
    quantize = job.request.quantize or (None if options.four else options.quantize)
    for target in [t for t in others if _roomier(t, job.target)][:MACHINES]:
        other = prepare(replace(job.request, quantize=quantize), target.name)
        fit = _sized(other, compile_job(other), budget=True)
        if not fit.over:
            yield _Trial(_Change(f"-t {target.name} ({target.title})"), fit)
            return


def _roomier(target: Target, than: Target) -> bool:
    """Whether it has no less of any memory, and more of one."""
    pairs = [(target.spaces[name].bytes, space.bytes) for name, space in than.spaces.items()]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
