#!/usr/bin/env bash
# Runs a command with SwiftShader, Chromium's software adapter, as the only Vulkan driver: a second opinion beside Mesa's,
# with as few storage buffers a shader (10) as there are anywhere. Takes it from Debian's package, which it unpacks and
# does not install.
#
#   scripts/swiftshader.sh target/debug/hsr-gpu verify --adapter SwiftShader
set -euo pipefail
folder=${SWIFTSHADER:-target/swiftshader}
icd=$folder/usr/lib/chromium/vk_swiftshader_icd.json
if [ ! -f "$icd" ]; then
  mkdir -p "$folder"
  (cd "$folder" && apt-get download -qq chromium-common && dpkg -x chromium-common_*.deb . && rm chromium-common_*.deb)
fi
icd=$(realpath "$icd")
VK_DRIVER_FILES=$icd VK_ICD_FILENAMES=$icd exec "$@"
