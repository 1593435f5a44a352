"""Packed layouts of constants: `(operands …, env) -> array`, one file each, found by scanning.

A kernel head asks for one by name (`pack = { w = "rows16(w)" }`); a target may bring its own in
`targets/<t>/packs/`.
"""
