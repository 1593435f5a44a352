#!/usr/bin/env bash
# wheel.sh PYTHON: builds the wheel, installs it into a clean environment away from the checkout, and compiles
# the example that the wheel itself carries. PYTHON has `build` and `hatchling`.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH

python=$PWD/$1
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT

"$python" -m build --wheel --no-isolation --outdir "$away" . >"$away/build.log" || { cat "$away/build.log"; exit 1; }
cd "$away"
"$python" -m venv clean
clean/bin/python -m pip install -q --disable-pip-version-check ./*.whl

clean/bin/brainc --version
clean/bin/brainc targets
example=$(clean/bin/python -c 'from brainc.resources import examples_dir; print(examples_dir() / "digits")')
case $example in
    "$PWD"/clean/*) ;;
    *) echo "the wheel takes its examples from $example" >&2; exit 1 ;;
esac
clean/bin/brainc build "$example" -t c99 -o out
for source in out/*.c; do
    gcc -std=c99 -O2 -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Werror \
        -c "$source" -o "${source%.c}.o"
done
echo "wheel: $(basename ./*.whl) compiles an example on its own"
