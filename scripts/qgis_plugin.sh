#!/usr/bin/env bash
# Packs the QGIS plugin: hsr_gpu.zip, which QGIS installs with "Install from ZIP".
#
#   scripts/qgis_plugin.sh [FOLDER]
#
# FOLDER is where the archive goes (default target).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-target}
mkdir -p "$folder"
packed=$(mktemp -d)
trap 'rm -rf "$packed"' EXIT
cp -r qgis/hsr_gpu "$packed/"
rm -rf "$packed/hsr_gpu/__pycache__"
rm -f "$folder/hsr_gpu.zip"
python3 -m zipfile -c "$folder/hsr_gpu.zip" "$packed/hsr_gpu"
