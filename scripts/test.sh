#!/usr/bin/env bash
# Installs what the tests need and runs them all. The only thing it expects is Rust.
#
# The GPU tests need a Vulkan adapter, and fail without one. Where the machine has no Vulkan driver, Mesa's software
# adapter is installed (Debian and its kin).
set -euo pipefail
cd "$(dirname "$0")/.."

vulkan_driver() {
  compgen -G "/usr/share/vulkan/icd.d/*.json" >/dev/null || compgen -G "/etc/vulkan/icd.d/*.json" >/dev/null ||
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]
}
vulkan_loader() { ldconfig -p 2>/dev/null | grep -q libvulkan.so.1; }

if [ "$(uname)" = Linux ] && ! { vulkan_driver && vulkan_loader; }; then
  if ! command -v apt-get >/dev/null; then
    echo "test.sh: no Vulkan driver here; install one (Mesa's lavapipe will do) and run this again" >&2
    exit 1
  fi
  root=""
  [ "$(id -u)" = 0 ] || root=sudo
  $root apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1
fi

# The Python module has its tests in Python (.ci/run); it is in the workspace here so that both share one build.
cargo test --workspace "$@"
