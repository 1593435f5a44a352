"""brainc: compiles brains (modular neural models) to C for Arduino, Cortex-M and the desktop."""

__version__ = "0.1.0"
