#!/bin/sh
# Everything that is measured on a machine with a GPU, in one go, and a table of it against what is demanded.
#
#   bench/gpu.sh [--adapter INDEX|NAME] [--quick] [FOLDER]
#
# Raw output goes to FOLDER (default bench/results/<adapter>), the table to FOLDER/summary.md and to standard output.
# Takes the release binary (builds it if it is not there) unless HSR_GPU names another. The comparison with PyTorch needs
# torch with CUDA in the Python that PYTHON names (default python3); without it that part is left out and said to be.
# --quick shrinks all sizes to what a software adapter does in a minute: its times say nothing, only that all runs.
# What fails is recorded and the rest goes on; exit code 1 if a command failed.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
adapter= quick= results=
while [ $# -gt 0 ]; do
    case $1 in
        --adapter) adapter=$2; shift 2 ;;
        --quick) quick=1; shift ;;
        -*) echo "gpu.sh: unknown argument $1" >&2; exit 2 ;;
        *) results=$1; shift ;;
    esac
done
python=${PYTHON:-python3}
program=${HSR_GPU:-$root/target/release/hsr-gpu}
if [ ! -x "$program" ]; then
    cargo build --release --manifest-path "$root/Cargo.toml" || exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# The adapter that all commands take, as --adapter takes it, and its name.
"$program" devices --json --quiet > "$work/devices.json" || exit 1
chosen=$("$python" - "$work/devices.json" "$adapter" <<'END'
import json, sys

adapters = json.load(open(sys.argv[1]))["adapters"]
wanted = sys.argv[2]
rank = ["DiscreteGpu", "IntegratedGpu", "VirtualGpu", "Other"]
if wanted:
    fits = [a for a in adapters if wanted == str(a["index"]) or wanted.lower() in a["name"].lower()]
else:
    fits = sorted((a for a in adapters if a["type"] in rank), key=lambda a: rank.index(a["type"]))
if not fits:
    sys.exit("gpu.sh: no such GPU (a software adapter is taken only when --adapter names it)")
name = "".join(c if c.isalnum() else "-" for c in fits[0]["name"]).strip("-").lower()
print(fits[0]["index"], int(fits[0]["shader_f16"]), name)
END
) || exit 1
index=${chosen%% *} rest=${chosen#* }
has_f16=${rest%% *} name=${rest#* }
results=${results:-$root/bench/results/$name}
mkdir -p "$results" || exit 1
rm -f "$results"/*.json "$results"/*.txt "$results"/summary.md
cp "$work/devices.json" "$results/devices.json"

# Runs a command; its output goes to FILE, what it says to FILE.log.txt.
record() {
    file=$1
    shift
    echo "gpu.sh: $*" >&2
    "$@" > "$results/$file" 2> "$results/$file.log.txt"
    code=$?
    if [ $code -ne 0 ]; then
        echo "gpu.sh: failed with exit code $code, see $results/$file.log.txt" >&2
        failed=1
    fi
    return $code
}

precisions=f32
if "$program" bench --help | grep -q -- '--precision' && [ "$has_f16" = 1 ]; then
    precisions="f32 f16"
fi
shrink= small= side=512 ratio=32 psf=paper:5 steps= members=
if [ -n "$quick" ]; then
    ratio=8 psf=gaussian:2.5,1.5,0.6 steps="--steps 20" members="--members 2"
    shrink="--shrink 64"
    small="--scale 8 --lr-pixels 16 --finetune-pixels 16 --side 64 --steps 2"
    side=64
fi
{
    date -u
    "$program" --version
    git -C "$root" rev-parse HEAD 2> /dev/null
    uname -srm
    nvidia-smi 2> /dev/null
} > "$results/machine.txt"

record verify.json "$program" verify --adapter "$index" --json --quiet
for p in $precisions; do
    precision=
    [ "$precisions" = f32 ] || precision="--precision $p"
    # shellcheck disable=SC2086 # one or more words, or none
    record "profile-$p.json" "$program" profile --adapter "$index" $precision $small \
        --trace "$results/trace-$p.json" --json --quiet
    # shellcheck disable=SC2086
    record "profile-fuse-$p.json" "$program" profile --preset single-scene --adapter "$index" $precision $small --json --quiet
    # shellcheck disable=SC2086
    record "bench-$p.json" "$program" bench --adapter "$index" $precision $shrink --json --quiet
    # shellcheck disable=SC2086
    record "protocol-$p.json" "$program" bench --only cave_protocol --adapter "$index" $precision $shrink --json --quiet
done
# The very first start: nothing compiled before, and the drivers' own caches (Mesa's, NVIDIA's) off.
# shellcheck disable=SC2086
record cold.json env HSR_GPU_CACHE=off MESA_SHADER_CACHE_DISABLE=true __GL_SHADER_DISK_CACHE=0 "$program" bench --only cold_start --adapter "$index" $shrink --json --quiet
if [ -z "$quick" ]; then
    record sweep.json "$program" bench --sweep --only train_step --only reconstruct --adapter "$index" --json --quiet
fi

# A default fusion of a simulated scene, files and start-up included.
"$python" - "$work/z.npy" "$side" <<'END'
# A scene of three materials in waves, 31 bands from 400 to 700 nm, as a .npy file; no NumPy needed.
import array, math, struct, sys

side, bands = int(sys.argv[2]), 31
spectra = [[0.3 + 0.25 * math.sin(0.2 * (1 + m) * b + m) for b in range(bands)] for m in range(3)]
waves = [[0.5 + 0.5 * math.sin((0.02 + 0.05 * m) * i + m) for i in range(side)] for m in range(3)]
header = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d, %d), }" % (side, side, bands)
header += " " * (63 - (10 + len(header)) % 64) + "\n"
with open(sys.argv[1], "wb") as out:
    out.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    for r in range(side):
        row = array.array("f")
        for c in range(side):
            a, b, d = (waves[m][r] * waves[m][(c * (m + 1)) % side] for m in range(3))
            row.extend(a * x + b * y + d * z for x, y, z in zip(*spectra))
        out.write(row.tobytes())
END
record simulate.txt "$program" simulate --hsi "$work/z.npy" --psf "$psf" --srf nikon-d700 --scale "$ratio" \
    --out-hsi "$work/x.npy" --out-msi "$work/y.npy" --out-reference "$work/reference.npy" --quiet
: > "$results/fuse-seconds.txt"
for turn in 1 2 3; do
    begin=$(date +%s%N)
    # shellcheck disable=SC2086
    record "fuse-$turn.json" "$program" fuse --hsi "$work/x.npy" --msi "$work/y.npy" --out "$work/fused.npy" \
        --adapter "$index" $steps $members --json --quiet && echo $(($(date +%s%N) - begin)) >> "$results/fuse-seconds.txt"
done

# The same with one member: what the others cost.
for turn in 1 2 3; do
    # shellcheck disable=SC2086
    record "fuse-one-member-$turn.json" "$program" fuse --hsi "$work/x.npy" --msi "$work/y.npy" --out "$work/fused.npy" \
        --adapter "$index" $steps --members 1 --json --quiet
done

# The same scene side by side until the MSI has 4096 x 4096 pixels and the HSI, at 32, 128 x 128: memory and time.
copies=8
[ -z "$quick" ] || copies=2
for image in x y; do
    "$python" - "$work/$image.npy" "$work/large-$image.npy" "$copies" <<'END'
# Lays a .npy image of float32 side by side, COPIES times in rows and columns.
import ast, struct, sys

copies = int(sys.argv[3])
with open(sys.argv[1], "rb") as image:
    start = image.read(10)
    header = ast.literal_eval(image.read(struct.unpack("<H", start[8:])[0]).decode())
    rows, columns, bands = header["shape"]
    lines = [image.read(4 * columns * bands) for _ in range(rows)]
header = "{'descr': '%s', 'fortran_order': False, 'shape': (%d, %d, %d), }" % (
    header["descr"], copies * rows, copies * columns, bands)
header += " " * (63 - (10 + len(header)) % 64) + "\n"
with open(sys.argv[2], "wb") as out:
    out.write(start[:8] + struct.pack("<H", len(header)) + header.encode())
    for _ in range(copies):
        out.writelines(line * copies for line in lines)
END
done
# shellcheck disable=SC2086
record fuse-large.json "$program" fuse --hsi "$work/large-x.npy" --msi "$work/large-y.npy" --out "$work/fused.npy" \
    --adapter "$index" $steps $members --json --quiet

if [ -n "$quick" ]; then
    echo "gpu.sh: --quick leaves the comparison with PyTorch out" >&2
elif "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null; then
    record compare.txt env HSR_GPU="$program" PYTHON="$python" "$root/bench/compare.sh" --device cuda --adapter "$index" \
        --save "$work/compare"
    mkdir -p "$results/compare" && cp "$work"/compare/*.json "$results/compare/"
else
    echo "gpu.sh: $python has no torch with CUDA; the comparison is left out" >&2
fi

"$python" - "$results" "${quick:-0}" <<'END'
import json, pathlib, statistics, sys

folder, quick = pathlib.Path(sys.argv[1]), sys.argv[2] == "1"


def load(name):
    try:
        return json.loads((folder / name).read_text())
    except (OSError, ValueError):
        return None


def measured(name):
    # The rows of `bench`, or of the peer.
    found = load(name) or []
    return found["rows"] if isinstance(found, dict) else found


def row(name, kind, lr=None):
    rows = [r for r in measured(name) if r["name"] == kind and lr in (None, r.get("lr_pixels"))]
    return rows[0]["seconds"] if rows else None


def trained(name):
    # Seconds of training and reconstruction, the best of three.
    runs = [load(f"{name}-{turn}.json") for turn in (1, 2, 3)]
    sums = [
        sum(s["seconds"] for s in run["stages"] if s["stage"] in ("train", "fine-tune", "reconstruct")) for run in runs if run
    ]
    return min(sums, default=None)


def reconstruct(name, size):
    # The row for so many HR pixels of 31 bands.
    rows = [
        r for r in measured(name)
        if r["name"] == "reconstruct" and r["hr_pixels"] == size * size and r["bands"] == 31
    ]
    return rows[0] if rows else None


def mebibytes(size):
    return size and size / 2**20


def kernel(name, part, stage="train"):
    for s in (load(name) or {}).get("stages", []):
        if s["stage"] == stage:
            for k in s["kernels"]:
                if part in k["kernel"]:
                    return k
    return None


def ratio(kind, lr=None):
    best = {}
    for who in ("ours", "torch"):
        for turn in (1, 2, 3):
            seconds = row(f"compare/{who}-{turn}.json", kind, lr)
            if seconds is not None:
                best[who] = min(seconds, best.get(who, seconds))
    return best["torch"] / best["ours"] if len(best) == 2 else None


hr, hr16 = kernel("profile-f32.json", "hr_network"), kernel("profile-f16.json", "hr_network")
train = [s for s in (load("profile-f32.json") or {}).get("stages", []) if s["stage"] == "train"]
dispatches = sum(k["calls"] for k in train[0]["kernels"]) / train[0]["runs"] if train else None
verify = load("verify.json")
try:
    fuse = statistics.median(int(t) * 1e-9 for t in (folder / "fuse-seconds.txt").read_text().split())
except (OSError, statistics.StatisticsError):
    fuse = None
share = hr and hr["arithmetic_share"]
faster = hr["seconds"] / hr["calls"] / (hr16["seconds"] / hr16["calls"]) if hr and hr16 and hr16["seconds"] > 0 else None
one, several = trained("fuse-one-member"), trained("fuse")
small, large = reconstruct("bench-f32.json", 512), reconstruct("sweep.json", 4096)
large_fuse = load("fuse-large.json") or {}
per_pixel = (
    large["seconds"] / large["hr_pixels"] / (small["seconds"] / small["hr_pixels"]) if small and large else None
)
demands = [
    ("failed comparisons of `verify`", verify and verify["failed"], "<=", 0),
    ("dispatches of a training step", dispatches, "<=", 8),
    ("HR pass, share of the measured f32 multiply-add rate", share, ">=", 0.4),
    ("training step, s", row("bench-f32.json", "train_step"), "<=", 0.3e-3),
    ("member_step, 256 LR pixels, s", row("bench-f32.json", "member_step", None if quick else 256), "<=", 0.04e-3),
    ("default fuse, 512 x 512 x 31, start-up included, s (median of 3)", fuse, "<=", 0.5),
    ("default members against one, training and reconstruction", several / one if several and one else None, "<=", 1.5),
    ("reconstruction, time per pixel at 4096 x 4096 against 512 x 512", per_pixel, "<=", 1.2),
    ("reconstruction at 4096 x 4096, memory on the device, MiB", mebibytes(large and large["device_bytes"]), "<=", 512),
    ("fuse of 4096 x 4096 x 31, memory on the device, MiB", mebibytes(large_fuse.get("device_bytes")), "<=", 512),
    ("fuse of 4096 x 4096 x 31, resident memory, MiB", mebibytes(large_fuse.get("peak_bytes")), "<=", 1536),
    ("CAVE protocol, s", row("protocol-f32.json", "cave_protocol"), "<=", 3.0),
    ("training step against PyTorch on this card", ratio("train_step"), ">=", 50),
    ("fine-tune step against PyTorch", ratio("finetune_step"), ">=", 50),
    ("reconstruction against PyTorch", ratio("reconstruct"), ">=", 50),
    ("member_step, 256, against PyTorch", ratio("member_step", 256), ">=", 50),
    ("HR pass, f16 against f32", faster, ">=", 3),
    ("first start with nothing compiled, s", row("cold.json", "cold_start"), "<=", 20),
]
lines = ["# " + ((load("profile-f32.json") or {}).get("adapter") or "no profile"), ""]
if quick:
    lines += ["Tiny sizes (`--quick`): the figures say nothing, only that everything ran.", ""]
lines += ["| what | found | demanded | |", "|---|---|---|---|"]
for what, found, sign, limit in demands:
    if found is None:
        lines.append(f"| {what} | – | {sign} {limit:g} | not measured |")
        continue
    good = found <= limit if sign == "<=" else found >= limit
    lines.append(f"| {what} | {found:.4g} | {sign} {limit:g} | {'pass' if good else 'FAIL'} |")
text = "\n".join(lines) + "\n"
(folder / "summary.md").write_text(text)
print(text, end="")
END
[ $? -eq 0 ] || failed=1
exit $failed
