#!/usr/bin/env bash
# What people look at, made by the program and looked at by others: event files through TensorBoard's own reader, report
# pages in headless Chromium. The runs are as short as they can be: quality is not asked for here.
#
# Expects a Python with tensorboard, pillow and playwright first in PATH; installs Chromium where there is none (Debian
# and its kin).
set -euo pipefail
hsr=$(realpath "$1")
cd "$(dirname "$0")"

if ! command -v "${CHROMIUM:-chromium}" >/dev/null; then
  root=""
  [ "$(id -u)" = 0 ] || root=sudo
  $root apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends chromium
fi
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
short=(--quiet --backend cpu --steps 60 --finetune-steps 20 --members 1)
"$hsr" demo "${short[@]}" --out "$results/demo" >/dev/null
"$hsr" fuse "${short[@]}" --hsi "$results/demo/hsi.npy" --msi "$results/demo/msi.npy" --out "$results/z.npy" --log "$results/log" >/dev/null
"$hsr" experiment coordination --quiet --backend cpu --epochs 2 --out "$results/experiment" --report "$results/experiment" >/dev/null
python3 check_tensorboard.py "$results/log"
python3 check_report.py "$results/demo/report.html"
python3 check_report.py "$results/experiment/report.html"
