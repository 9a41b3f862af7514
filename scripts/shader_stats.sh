#!/usr/bin/env bash
# What a driver's compiler makes of the kernels of every shipped preset: registers, spills, waves, instructions.
#
#   scripts/shader_stats.sh [--driver ICD.json] [--adapter amd|nvidia] [--check TABLE]
#
# Without options: Debian's Mesa, RADV for navi21, which needs no card; installs what it wants (Debian and its kin). On a
# machine with a card, --driver names its driver, and --adapter whose texts are compiled. With --check it fails if a kernel
# has spilled vector registers, or more than 10 % more instructions than its line in TABLE says.
set -euo pipefail
cd "$(dirname "$0")/.."
driver=/usr/share/vulkan/icd.d/radeon_icd.x86_64.json adapter=amd table=
while [ $# -gt 0 ]; do
  case $1 in
    --driver) driver=$2; shift 2 ;;
    --adapter) adapter=$2; shift 2 ;;
    --check) table=$2; shift 2 ;;
    *) echo "shader_stats.sh: unknown argument $1" >&2; exit 2 ;;
  esac
done
if ! { [ -f "$driver" ] && [ -f /usr/include/vulkan/vulkan.h ] && command -v cc >/dev/null; }; then
  root=""
  [ "$(id -u)" = 0 ] || root=sudo
  $root apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends \
    mesa-vulkan-drivers libvulkan-dev gcc libc6-dev
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo run -q -p kernels-tests --example shader_texts "$work/texts"
cc -O1 scripts/shader_stats.c -lvulkan -o "$work/shader_stats"
export VK_DRIVER_FILES=$driver VK_ICD_FILENAMES=$driver MESA_SHADER_CACHE_DISABLE=true
export RADV_FORCE_FAMILY=${RADV_FORCE_FAMILY:-navi21}
"$work/shader_stats" "$work"/texts/*/"$adapter"/*.spv > "$work/stats.jsonl" 2> "$work/log" || { cat "$work/log" >&2; exit 1; }
python3 - "$work/stats.jsonl" "$table" <<'END'
import json, pathlib, sys

rows = [json.loads(line) for line in open(sys.argv[1])]
first = lambda row, *names: next((row[n] for n in names if n in row), "-")
known = {}
if sys.argv[2]:
    for line in pathlib.Path(sys.argv[2]).read_text().splitlines():
        if line and not line.startswith("#"):
            name, *numbers = line.split()
            known[name] = numbers
print(f"# {rows[0]['adapter']}")
print("# kernel                                   registers spilled scratch shared waves instructions ms")
wrong = []
for row in rows:
    path = pathlib.Path(row["file"])
    name = f"{path.parts[-3]}/{path.stem}"
    registers = first(row, "VGPRs", "Register Count")
    spilled = first(row, "Spilled VGPRs", "Stack Size")
    instructions = first(row, "Instructions", "Binary Size")
    print(
        f"{name:<42} {registers:>9} {spilled:>7} {first(row, 'Scratch size'):>7}"
        f" {first(row, 'LDS size', 'Shared Memory Size'):>6} {first(row, 'Subgroups per SIMD'):>5} {instructions:>12}"
        f" {row['ms']:>6.0f}"
    )
    if sys.argv[2]:
        if spilled != 0:
            wrong.append(f"{name} spills {spilled} registers")
        if name in known and instructions > 1.1 * int(known[name][5]):
            wrong.append(f"{name} has {instructions} instructions, {known[name][5]} in {sys.argv[2]}")
for what in wrong:
    print(f"shader_stats.sh: {what}", file=sys.stderr)
sys.exit(bool(wrong))
END
