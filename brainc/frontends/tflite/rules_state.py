"""Rules for variables: what a model remembers from one call to the next.

CALL_ONCE runs a subgraph that gives them their first values. In a call, reading gives what the last call left, or
what was assigned before; the states themselves change at the end, when everyone has read them.
"""

from __future__ import annotations

import numpy as np

from brainc.frontends.moves import refuse
from brainc.frontends.tflite.importer import VARIABLE, Importer, State
from brainc.frontends.tflite.rules import Call, rule


@rule("VAR_HANDLE")
def var_handle(g: Importer, c: Call) -> str:
    container, name = ((c.option(key, b"") or b"").decode() for key in ("Container", "SharedName"))
    return f"{VARIABLE}{container}/{name}" if container else VARIABLE + name


@rule("CALL_ONCE")
def call_once(g: Importer, c: Call) -> tuple[str, ...]:
    if g.beginning:
        raise refuse("it is called by itself")
    g.beginning = True
    g.walk(g.model.subgraphs[c.option("InitSubgraphIndex")], {})
    g.beginning = False
    return ()


@rule("READ_VARIABLE")
def read_variable(g: Importer, c: Call) -> str:
    if g.beginning:
        raise refuse("it is read before the first call")
    return g.state(c.inputs[0], c.outs[0])


@rule("ASSIGN_VARIABLE")
def assign_variable(g: Importer, c: Call) -> tuple[str, ...]:
    variable, x = c.inputs
    if g.beginning:
        g.states[variable] = State(np.array(g.array(x, "its first values")))
    else:
        g.state(variable, c.ins[1])
        g.states[variable].assigned = x
    return ()
