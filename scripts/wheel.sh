#!/usr/bin/env bash
# Builds the Python wheel: the module, and the program as `hsr-gpu` beside it.
#
#   scripts/wheel.sh [--dev] [FOLDER]
#
# FOLDER is where the wheel goes (default target/wheels). --dev takes the profile of the tests, which builds faster and runs
# slower. Needs Rust and a Python with venv; maturin is installed into a virtual environment under target/.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=release folder=target/wheels
for argument in "$@"; do
  case $argument in
    --dev) profile=dev ;;
    -*) echo "wheel.sh: unknown argument $argument" >&2; exit 2 ;;
    *) folder=$argument ;;
  esac
done
built=${CARGO_TARGET_DIR:-target}/$profile
[ "$profile" != dev ] || built=${CARGO_TARGET_DIR:-target}/debug
# Both in one call, so that they share one build of the library.
cargo build --profile "$profile" -p hsr-gpu -p hsr-gpu-python --bin hsr-gpu --lib
mkdir -p python/hsr_gpu.data/scripts
strip -o python/hsr_gpu.data/scripts/hsr-gpu "$built/hsr-gpu"
chmod +x python/hsr_gpu.data/scripts/hsr-gpu
[ -x target/maturin/bin/maturin ] || { python3 -m venv target/maturin && target/maturin/bin/pip install -q 'maturin>=1.9,<2'; }
target/maturin/bin/maturin build --profile "$profile" --manifest-path python/Cargo.toml --out "$folder"
