"""The Arduino core, compiled with the words of its own platform.txt (Arduino AVR Boards 1.8). SCons runs it."""

from os.path import join

from SCons.Script import DefaultEnvironment

env = DefaultEnvironment()
board = env.BoardConfig()
root = env.PioPlatform().get_package_dir("framework-arduino-avr")
core, variant = join(root, "cores", "arduino"), join(root, "variants", board.get("build.variant"))
usb = board.get("build.usb_product", "")
hwid = board.get("build.hwids", [["0x0000", "0x0000"]])[0]

env.Append(
    ASFLAGS=["-x", "assembler-with-cpp", "-mmcu=$BOARD_MCU"],
    CFLAGS=["-std=gnu11", "-fno-fat-lto-objects"],
    CXXFLAGS=["-std=gnu++11", "-fpermissive", "-fno-exceptions", "-fno-threadsafe-statics"],
    CCFLAGS=["-Os", "-Wall", "-ffunction-sections", "-fdata-sections", "-flto", "-mmcu=$BOARD_MCU"],
    LINKFLAGS=["-Os", "-flto", "-fuse-linker-plugin", "-mmcu=$BOARD_MCU", "-Wl,--gc-sections"],
    CPPDEFINES=[
        ("F_CPU", "$BOARD_F_CPU"),
        ("ARDUINO", 10808),
        "ARDUINO_ARCH_AVR",
        ("DECIMAL_DIG", "__DECIMAL_DIG__"),  # g++ 5.4 hides it, and the core's String wants it
        *([("USB_VID", hwid[0]), ("USB_PID", hwid[1]), ("USB_PRODUCT", f'\\"{usb}\\"')] if usb else []),
    ],
    CPPPATH=[core, variant],
    LIBS=["m"],
    LIBSOURCE_DIRS=[join(root, "libraries")],
)
env.Prepend(LIBS=[env.BuildLibrary(join("$BUILD_DIR", "FrameworkArduino"), core)])
