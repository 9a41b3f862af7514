#!/usr/bin/env python3
"""What every command prints under --json, held against docs/json.schema.json.

Usage: check_json.py PROGRAM [ADAPTER]

PROGRAM is the hsr-gpu to run, on inputs that are made here; ADAPTER, if given, is the GPU adapter of `verify`.
Needs numpy and jsonschema.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import jsonschema
import numpy as np

SCHEMA = pathlib.Path(__file__).resolve().parent.parent / "docs" / "json.schema.json"
FEW = "--backend cpu --steps 40 --finetune-steps 0 --members 2"
SMALL = "--backend cpu --scale 4 --lr-pixels 8 --finetune-pixels 8 --side 16 --steps 2"
COMMANDS = [
    "simulate --hsi z.npy --psf gaussian:1,1,0 --kernel 4 --srf r.csv --scale 4 --out-hsi x.npy --out-msi y.npy --out-reference w.npy",
    f"fuse x.npy y.npy -o f.npy --reference w.npy --save-std s.npy {FEW}",
    f"fuse x.npy y.npy -o f.npy --dry-run {FEW}",
    "fuse x.npy y.npy -o g.npy --method gsa",
    "fuse x.npy y.npy --dump-config",
    "demo --dump-config",
    "estimate x.npy y.npy",
    "align x.npy y.npy -o a.npy",
    "eval --reference w.npy --estimate f.npy",
    "eval --reference w.npy --estimate f.npy --scale 4 --convention all --align",
    "eval --no-reference --hsi x.npy --msi y.npy --estimate f.npy",
    "info x.npy",
    "convert x.npy x.hdr --type f64",
    "train --scenes scenes.txt -o m.safetensors --backend cpu --steps 10",
    "finetune x.npy y.npy --model m.safetensors -o t.safetensors --backend cpu --steps 4",
    "infer --model t.safetensors --msi y.npy -o i.npy --backend cpu",
    "sensors",
    "sensors worldview-2",
    "devices",
    "doctor",
    f"profile {SMALL}",
    "bench --backend cpu --shrink 64 --only finetune_step",
    f"batch scenes.txt --out b -- {FEW}",
    "experiment network --out n",
    "experiment scenes --scenes one.txt --out e --only gsa --methods gsa --backend cpu",
    "render x.npy -o x.png",
    "completions bash",
    "manual -o man",
]


def once(pairs):
    """An object, refused where it has one name twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a name stands twice: {[name for name, _ in pairs]}")
    return found


def make_inputs(folder):
    rows, columns, bands = np.meshgrid(np.arange(64) / 6, np.arange(64) / 5, np.arange(9) / 9, indexing="ij")
    image = 0.5 + 0.2 * np.sin(2 * rows + 3 * bands) + 0.2 * np.cos(3 * columns - 2 * bands)
    np.save(folder / "z.npy", image.astype(np.float32))
    response = [",".join("1" if band // 3 == j else "0" for j in range(3)) for band in range(9)]
    (folder / "r.csv").write_text("\n".join(response) + "\n")
    (folder / "scenes.txt").write_text("x.npy,y.npy\n")
    (folder / "one.txt").write_text("z.npy,r.csv\n")


def main():
    program = os.path.abspath(sys.argv[1])
    adapter = sys.argv[2:]
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_inputs(folder)
        for command in COMMANDS + [f"verify --adapter {a}" for a in adapter]:
            words = command.split()
            # What follows -- belongs to the command that batch runs.
            end = words.index("--") if "--" in words else len(words)
            words[end:end] = ["--json", "--quiet"]
            run = subprocess.run([program, *words], cwd=folder, capture_output=True, text=True, check=False)
            try:
                told = json.loads(run.stdout, object_pairs_hook=once)
                faults = [f"{fault.json_path}: {fault.message}"[:300] for fault in validator.iter_errors(told)]
                listed = [file["path"] for file in told["outputs"] if not (folder / file["path"]).exists()]
                faults += [f"{path} is said to be written" for path in listed]
            except (ValueError, KeyError, TypeError) as fault:
                faults = [f"{fault}: {run.stdout[:200]} {run.stderr[:300]}"]
            if run.returncode != 0 and words[0] != "doctor":
                faults.append(f"exit code {run.returncode}: {run.stderr[:300]}")
            for fault in faults:
                print(f"{command}: {fault}")
            wrong += len(faults)
    print(f"{len(COMMANDS) + len(adapter)} commands, {wrong} faults")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
