"""What `pio run` does: image, .hex, sizes, upload by avrdude. SCons runs it."""

from os.path import join

from SCons.Script import AlwaysBuild, Builder, Default, DefaultEnvironment

env = DefaultEnvironment()
conf = join(env.PioPlatform().get_package_dir("tool-avrdude") or "", "avrdude.conf")
env.Replace(
    AR="avr-gcc-ar",
    AS="avr-gcc",
    CC="avr-gcc",
    CXX="avr-g++",
    OBJCOPY="avr-objcopy",
    RANLIB="avr-gcc-ranlib",
    SIZETOOL="avr-size",
    ARFLAGS=["rcs"],
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    SIZEPROGREGEXP=r"^(?:\.text|\.data|\.brainc\S*)\s+(\d+).*",
    SIZEDATAREGEXP=r"^(?:\.data|\.bss|\.noinit)\s+(\d+).*",
    SIZECHECKCMD="$SIZETOOL -A -d $SOURCES",
    SIZEPRINTCMD="$SIZETOOL -A -d $SOURCES",
    UPLOADER="avrdude",
    UPLOADCMD=f"$UPLOADER -p $BOARD_MCU -C {conf} -c $UPLOAD_PROTOCOL -b $UPLOAD_SPEED -D"
    " -P $UPLOAD_PORT -U flash:w:$SOURCES:i",
)
to_hex = env.VerboseAction("$OBJCOPY -O ihex -R .eeprom $SOURCES $TARGET", "Building $TARGET")
env.Append(BUILDERS={"ElfToHex": Builder(action=to_hex, suffix=".hex")})

elf = env.BuildProgram()
firmware = env.ElfToHex(join("$BUILD_DIR", "${PROGNAME}"), elf)
env.Depends(firmware, "checkprogsize")
program = env.Alias("buildprog", firmware)
find_port = env.VerboseAction(lambda *_, **__: env.AutodetectUploadPort(), "Looking for upload port...")
env.AddPlatformTarget("upload", firmware, [find_port, env.VerboseAction("$UPLOADCMD", "Uploading $SOURCE")], "Upload")
AlwaysBuild(program)
Default([program])
