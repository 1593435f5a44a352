"""What brainc says of each board, held against what PlatformIO and the Arduino cores say of it; and the written
library with each core's own flags, run on the simulated core: the bytes of the reference."""

from __future__ import annotations

import configparser
import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from brainc import actions, check, samples, toolchain
from brainc.compiler import Request, compile_job, ports, prepare
from brainc.emit import emit
from brainc.resources import examples_dir
from brainc.target import load_target

DIGITS = examples_dir() / "digits"

# (platform, board, flash, RAM) from boards/BOARD.json of each of PlatformIO's platforms: upload.maximum_size and
# upload.maximum_ram_size. https://github.com/platformio/platform-{atmelavr,nordicnrf52,raspberrypi,teensy,ststm32}
BOARDS = {
    "uno": ("atmelavr", "uno", 32256, 2048),
    "mega": ("atmelavr", "megaatmega2560", 253952, 8192),
    "nano": ("atmelavr", "nanoatmega328new", 30720, 2048),
    "leonardo": ("atmelavr", "leonardo", 28672, 2560),
    "nano33ble": ("nordicnrf52", "nano33ble", 983040, 262144),
    "pico": ("raspberrypi", "pico", 2097152, 270336),
    "teensy41": ("teensy", "teensy41", 8126464, 524288),
    "bluepill": ("ststm32", "bluepill_f103c8", 65536, 20480),
    "nucleo": ("ststm32", "nucleo_f446re", 524288, 131072),
}

MBED = "-std=gnu11 -Os -fdata-sections -ffunction-sections -fmessage-length=0 -fno-delete-null-pointer-checks"
MBED += " -fno-exceptions -fomit-frame-pointer -funsigned-char -mthumb"
STM32 = "-std=gnu11 -Os -mthumb -ffunction-sections -fdata-sections --param max-inline-insns-single=500"
# How each core compiles C.
CORES = {
    # arduino/ArduinoCore-mbed, variants/ARDUINO_NANO33BLE/cflags.txt; the Pico's differ in the machine only
    "nano33ble": f"{MBED} -mcpu=cortex-m4 -mfloat-abi=softfp -mfpu=fpv4-sp-d16",
    "pico": f"{MBED} -mcpu=cortex-m0plus",
    # platform-teensy, builder/frameworks/arduino.py: core teensy4
    "teensy41": "-std=gnu11 -O2 -ffunction-sections -fdata-sections -mthumb -mcpu=cortex-m7"
    " -fsingle-precision-constant -mfloat-abi=hard -mfpu=fpv5-d16",
    # stm32duino/Arduino_Core_STM32, tools/platformio/platformio-build.py
    "bluepill": f"{STM32} -mcpu=cortex-m3",
    "nucleo": f"{STM32} -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard",
}


def project(target: str, folder: Path) -> Path:
    actions.build(Request(DIGITS), target, folder, "project", lambda _: None)
    return folder


@pytest.mark.parametrize("target", BOARDS)
def test_platformio_knows_the_board_by_these_names(target: str, tmp_path: Path) -> None:
    platform, board, flash, ram = BOARDS[target]
    config = configparser.ConfigParser()
    config.read(project(target, tmp_path) / "platformio.ini")
    env = config["platformio"]["default_envs"]
    said = {key: config[f"env:{env}"][key] for key in ("platform", "board", "framework")}
    assert said == {"platform": platform, "board": board, "framework": "arduino"}
    assert config[f"env:{env}_selftest"]["extends"] == f"env:{env}"
    library = json.loads((tmp_path / "lib" / "digits" / "library.json").read_text())
    assert (library["platforms"], library["frameworks"]) == (platform, "arduino")
    spaces = load_target(target).spaces
    assert (spaces["flash"].bytes, spaces["ram"].bytes) == (flash, ram)


@pytest.mark.sim
@pytest.mark.parametrize("target", CORES)
def test_the_written_library_with_the_flags_of_its_core(target: str, tmp_path: Path) -> None:
    """Compiled as PlatformIO does: the core's flags, less what library.json takes off, and what it adds."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if toolchain.locate(tool) is None:
            pytest.skip(f"needs {tool}")
    library = project(target, tmp_path) / "lib" / "digits"
    build = json.loads((library / "library.json").read_text())["build"]
    unwanted = [*build.get("unflags", "").split(), "-std=gnu11"]
    flags = [flag for flag in CORES[target].split() if flag not in unwanted]
    program = compile_job(prepare(Request(DIGITS), target))
    assert {name: (library / "src" / name).read_bytes() for name in emit(program)} == emit(program)
    flags += build["flags"].split()
    for source in (library / "src").glob("*.[cS]"):
        command = ["arm-none-eabi-gcc", "-std=gnu11", *flags, "-Wall", "-Werror", "-c", str(source)]
        subprocess.run([*command, "-o", str(tmp_path / "object.o")], check=True)
    unified = "-masm-syntax-unified"  # our harness asks for it, which no core gives
    tools = replace(program.target.toolchain, std="gnu11", optimize="-g0", flags=(*flags, unified))
    on_core = replace(program, target=replace(program.target, toolchain=tools))
    vectors = samples.load(DIGITS / "test.npz", ports(program.graph)).arrays
    assert check.prove(on_core, {k: v[:3] for k, v in vectors.items()}).first_difference is None


@pytest.mark.sim
def test_teensy_keeps_constants_in_flash(tmp_path: Path) -> None:
    """Its linker script copies .rodata to RAM at start, not .progmem (PaulStoffregen/cores, imxrt1062_t41.ld).

    Small constants ask for it in C, large ones in assembler; both are read right.
    """
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if toolchain.locate(tool) is None:
            pytest.skip(f"needs {tool}")
    source = (project("teensy41", tmp_path) / "lib" / "digits" / "src" / "digits.c").read_text()
    assert source.count('section(".progmem")') == 1 and "BR_CONST(" in source
    weights = numpy_helper.from_array(np.random.default_rng(3).standard_normal((600, 450)).astype(np.float32), "w")
    ports_of = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", 600), ("y", 450))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ports_of[:1], ports_of[1:], [weights]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    program = compile_job(prepare(Request(tmp_path / "m.onnx", quantize="int8", calibrate="random"), "teensy41"))
    assert b'.section .progmem, "a"' in emit(program)["m_weights.S"]
    assert check.prove(program, samples.random(ports(program.graph), 2, 0).arrays).first_difference is None


def test_new_weights_are_a_new_assembler_file() -> None:
    """Build tools that see that only the .bin beside it has changed are few: the .S changes with it."""
    programs = [compile_job(prepare(Request(DIGITS, calibration=how), "mega")) for how in ("minmax", "percentile")]
    (one, first), (two, second) = [[emit(p)[f"digits_weights.S{end}"] for end in ("", ".bin")] for p in programs]
    assert (one != two) == (first != second)
    assert hashlib.sha256(first).hexdigest()[:12].encode() in one
