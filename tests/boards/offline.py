"""PlatformIO without a network: its packages laid out from Debian's AVR tools and SCons from the Python index.

`core(folder)` makes a PLATFORMIO_CORE_DIR in which `platform = atmelavr` is the stand-in beside this file, so a
project that brainc wrote is built as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from platformio.dependencies import get_core_dependencies

from brainc.toolchain import locate

HERE = Path(__file__).parent
ARDUINO = Path("/usr/share/arduino/hardware/arduino/avr")  # Debian's arduino-core-avr
OPTIBOOT = ARDUINO / "bootloaders" / "optiboot" / "optiboot_atmega328.hex"
SCONS = Path(sys.prefix) / "share" / "brainc" / "scons"  # where .ci/setup.sh puts it
SCONS_STARTER = """import os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from SCons.Script.Main import main
if __name__ == "__main__":
    main()
"""
PARTS = "gcc g++ cpp gcc-ar gcc-nm gcc-ranlib ar as ld nm objcopy objdump ranlib size strip"
QUIET = {
    "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
    "PLATFORMIO_SETTING_CHECK_PLATFORMIO_INTERVAL": "3650",
    "PLATFORMIO_SETTING_CHECK_PRUNE_SYSTEM_THRESHOLD": "0",
    "PLATFORMIO_NO_ANSI": "1",
    "PLATFORMIO_DISABLE_PROGRESSBAR": "true",
    "CI": "true",
}


def needs() -> None:
    """Skips, with the reason, where this machine cannot build for AVR through PlatformIO."""
    missing = [name for name in ("pio", "avr-gcc", "avr-g++", "avrdude") if locate(name) is None]
    missing += [] if ARDUINO.is_dir() else ["arduino-core-avr"]
    missing += [] if (SCONS / "SCons").is_dir() else ["SCons (.ci/setup.sh)"]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def environment(core: Path) -> dict[str, str]:
    """The words that make `pio` use this core folder and nothing else."""
    return {**QUIET, "PLATFORMIO_CORE_DIR": str(core)}


def core(folder: Path) -> Path:
    """Lays out everything `pio run` of an AVR board asks for."""
    needs()
    packages = folder / "packages"
    scons = packages / "tool-scons"
    shutil.copytree(SCONS, scons, ignore=shutil.ignore_patterns("bin", "__pycache__"))
    (scons / "scons.py").write_text(SCONS_STARTER)
    _known(scons, "tool", get_core_dependencies()["tool-scons"].lstrip("~"))
    for part in PARTS.split():
        _link(packages / "toolchain-atmelavr" / "bin" / f"avr-{part}", shutil.which(f"avr-{part}") or "")
    _known(packages / "toolchain-atmelavr", "tool", "1.70300.0")
    for part in ("cores", "variants", "libraries"):
        _link(packages / "framework-arduino-avr" / part, str(ARDUINO / part))
    _known(packages / "framework-arduino-avr", "tool", "5.3.0")
    _link(packages / "tool-avrdude" / "avrdude", shutil.which("avrdude") or "")
    _link(packages / "tool-avrdude" / "avrdude.conf", "/etc/avrdude.conf")
    _known(packages / "tool-avrdude", "tool", "1.60300.0")
    shutil.copytree(HERE / "atmelavr", folder / "platforms" / "atmelavr")
    _known(folder / "platforms" / "atmelavr", "platform", "5.1.0")
    return folder


def _link(place: Path, source: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    os.symlink(source, place)


def _known(package: Path, kind: str, version: str) -> None:
    """What PlatformIO writes beside a package that it fetched itself: who made it, so it looks no further."""
    spec = {"owner": "platformio", "id": None, "name": package.name, "requirements": None, "uri": None}
    about = {"type": kind, "name": package.name, "version": version, "spec": spec}
    (package / ".piopm").write_text(json.dumps(about))
    (package / ".piokeep").touch()
    if kind == "tool":
        manifest = {"name": package.name, "version": version, "description": "laid out from this machine's own tools"}
        (package / "package.json").write_text(json.dumps(manifest))
