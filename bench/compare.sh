#!/bin/sh
# hsr-gpu and the PyTorch peer in one go, with the same threads; prints the ratios (peer / ours).
#
#   bench/compare.sh [--threads N] [--device cpu|cuda] [--adapter INDEX|NAME] [--compile] [--only NAME] [--save FOLDER]
#
# Takes the release binary (builds it if it is not there) unless HSR_GPU names another, and the Python in PYTHON
# (default python3), which needs torch. The two take turns three times and the best of each counts, so that what
# else the machine does falls on both alike.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
threads=$(getconf _NPROCESSORS_ONLN)
device=cpu only= compile= save= adapter=
while [ $# -gt 0 ]; do
    case $1 in
        --threads) threads=$2; shift 2 ;;
        --device) device=$2; shift 2 ;;
        --adapter) adapter="--adapter $2"; shift 2 ;;
        --only) only="--only $2"; shift 2 ;;
        --save) save=$2; shift 2 ;;
        --compile) compile=--compile; shift ;;
        *) echo "compare.sh: unknown argument $1" >&2; exit 2 ;;
    esac
done
python=${PYTHON:-python3}
program=${HSR_GPU:-$root/target/release/hsr-gpu}
if [ ! -x "$program" ]; then
    cargo build --release --manifest-path "$root/Cargo.toml"
fi
case $device in cpu) backend=cpu ;; *) backend=gpu ;; esac
work=${save:-$(mktemp -d)}
mkdir -p "$work"
for turn in 1 2 3; do
    # shellcheck disable=SC2086 # $adapter, $only and $compile are one or more words, or none
    "$program" bench --json --quiet --backend "$backend" --threads "$threads" $adapter $only > "$work/ours-$turn.json"
    # shellcheck disable=SC2086
    "$python" "$root/bench/torch_peer.py" --device "$device" --threads "$threads" $only $compile > "$work/torch-$turn.json"
done
"$python" - "$work" <<'END'
import json, pathlib, sys

work = pathlib.Path(sys.argv[1])


def best(name):
    rows = {}
    for turn in (1, 2, 3):
        found = json.loads((work / f"{name}-{turn}.json").read_text())
        for r in found["rows"] if isinstance(found, dict) else found:
            key = (r["name"], r.get("lr_pixels"), r.get("hr_pixels"))
            if key not in rows or r["seconds"] < rows[key]["seconds"]:
                rows[key] = r
    return rows


ours, peer = best("ours"), best("torch")
print(f"{'row':<16}{'LR pixels':>10}{'HR pixels':>10}{'ours':>12}{'torch':>12}{'ratio':>8}")
for key, r in ours.items():
    if key in peer:
        theirs = peer[key]["seconds"]
        name, lr, hr = (x if x is not None else "-" for x in key)
        print(f"{name:<16}{lr:>10}{hr:>10}{r['seconds']:>12.6f}{theirs:>12.6f}{theirs / r['seconds']:>8.2f}")
END
[ -n "$save" ] || rm -r "$work"
