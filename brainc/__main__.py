"""The doorstep: `brainc` and `python -m brainc` begin here, before all that takes long to import."""

from __future__ import annotations

import sys


def main() -> None:
    """The door (`cli.py`); who stops it while it is still being opened sees no traceback either."""
    try:
        from brainc import cli
    except KeyboardInterrupt:
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
