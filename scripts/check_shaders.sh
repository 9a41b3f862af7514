#!/usr/bin/env bash
# Every kernel of every shipped preset through compilers that are stricter than the driver at hand: spirv-val on all
# texts (Vulkan 1.1; 1.3 with cooperative matrices), and with --tint Tint, Chromium's compiler of WGSL, on those that use
# nothing beyond WebGPU, which wants npm and an adapter that Dawn takes (Mesa 22's llvmpipe is none). Installs what it
# wants (Debian and its kin).
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v spirv-val >/dev/null; then
  root=""
  [ "$(id -u)" = 0 ] || root=sudo
  $root apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends spirv-tools
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo run -q -p kernels-tests --example shader_texts "$work/texts"
checked=0 unknown=0
for text in "$work"/texts/*/*/*.spv; do
  case $text in
    */matrix/*) environment=vulkan1.3 ;;
    *) environment=vulkan1.1 ;;
  esac
  if ! said=$(spirv-val --target-env $environment "$text" 2>&1); then
    # 6022 is CooperativeMatrixKHR, which spirv-tools before 2023.3 have never heard of.
    case $said in
      *"Invalid capability operand: 6022"*) unknown=$((unknown + 1)); continue ;;
    esac
    printf '%s\ncheck_shaders.sh: %s is not valid\n' "$said" "$text" >&2
    exit 1
  fi
  checked=$((checked + 1))
done
echo "spirv-val: $checked texts are valid; $unknown with cooperative matrices, which this version does not know"
[ "${1:-}" = --tint ] || exit 0
(cd "$work" && npm install --silent --no-fund --no-audit --prefix . webgpu@0.3 >/dev/null)
cp scripts/tint.mjs "$work/tint.mjs"
node "$work/tint.mjs" "$work"/texts/*/{webgpu,half}
