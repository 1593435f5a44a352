"""brainc: compiles brains (modular neural models) to C for Arduino, Cortex-M and the desktop."""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`brainc.load`, without the price of all it needs for those who do not load."""
    if name == "load":
        from brainc.native import load

        return load
    raise AttributeError(f"module 'brainc' has no attribute {name!r}")
