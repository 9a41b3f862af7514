"""Holds our files against other programs: numpy, scipy, h5py and spectral read what we write, we read what
they write. Needs those four and a built hsr-gpu.

Run: python scripts/check_formats.py target/debug/hsr-gpu
Prints one line a check; exit code 1 if any fails.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import spectral.io.envi as envi

PROGRAM = str(Path(sys.argv[1]).resolve())
TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
OURS = {t: t[0] + str(8 * int(t[1])) for t in TYPES}
random = np.random.default_rng(20230618)
failures = 0


def check(what, ours, theirs, kind=None):
    global failures
    same = ours.shape == theirs.shape and np.array_equal(ours, theirs)
    same = same and (kind is None or ours.dtype.newbyteorder("=") == np.dtype(kind))
    failures += not same
    print(f"{'ok  ' if same else 'FAIL'} {what}")


def convert(*arguments):
    result = subprocess.run([PROGRAM, "--quiet", "convert", *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"FAIL convert {arguments}: {result.stderr}")


def image(kind):
    """7 x 6 x 5 samples over the part of the range that single precision holds exactly."""
    if kind[0] == "f":
        return random.normal(size=(7, 6, 5)).astype("f2").astype(kind)
    info = np.iinfo(kind)
    low, high = max(info.min, -(2**24)), min(info.max, 2**24)
    return random.integers(low, high, size=(7, 6, 5), endpoint=True).astype(kind)


def main(folder):
    for kind in TYPES:
        a = image(kind)
        single = a.astype("f4")
        for order in "<>":
            for fortran in [False, True]:
                np.save(folder / "in.npy", np.array(a.astype(kind), dtype=order + kind, order="F" if fortran else "C"))
                convert(folder / "in.npy", folder / "out.npy")
                check(f"numpy {order}{kind}{' fortran' * fortran} -> ours -> numpy", np.load(folder / "out.npy"), a, kind)

        convert(folder / "out.npy", folder / "out.mat")
        matlab = "f4" if kind == "f2" else kind
        check(f"ours {kind} -> scipy", scipy.io.loadmat(folder / "out.mat")["cube"], a, matlab)

        for compressed in [False, True]:
            if kind == "f2":
                continue  # scipy has no half precision in .mat
            scipy.io.savemat(folder / "in.mat", {"x": a, "v": np.arange(5.0)}, do_compression=compressed)
            convert(folder / "in.mat", folder / "back.npy")
            check(f"scipy {kind}{' zlib' * compressed} -> ours", np.load(folder / "back.npy"), a, kind)

        for options in [{}, dict(chunks=(2, 3, 4), compression="gzip", shuffle=True), dict(chunks=(5, 6, 7), fletcher32=True)]:
            with h5py.File(folder / "in73.mat", "w", userblock_size=512) as f:
                f.create_dataset("x", data=a.T, **options)
            with open(folder / "in73.mat", "r+b") as f:
                f.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
            convert(folder / "in73.mat", folder / "back.npy")
            check(f"h5py {kind} {sorted(options)} -> ours", np.load(folder / "back.npy"), a, kind)

        for interleave in ["bsq", "bil", "bip"]:
            convert(folder / "out.npy", folder / "out.hdr", "--interleave", interleave)
            opened = envi.open(folder / "out.hdr", folder / "out.img")
            written = {"f2": "f4", "i1": "i2"}.get(kind, kind)
            check(f"ours {kind} {interleave} -> SPy", np.asarray(opened.open_memmap(interleave="bip")), a, written)
            if written == kind:
                for byteorder in [0, 1]:
                    envi.save_image(
                        str(folder / "spy.hdr"), a, dtype=kind, interleave=interleave, byteorder=byteorder, force=True
                    )
                    convert(folder / "spy.hdr", folder / "back.npy")
                    check(f"SPy {kind} {interleave} order {byteorder} -> ours", np.load(folder / "back.npy"), a, kind)

        if kind != "f4":
            convert(folder / "out.npy", folder / "single.npy", "--type", "f32")
            check(f"ours {kind} -> f32", np.load(folder / "single.npy"), single, "f4")
        convert(folder / "out.npy", folder / "same.npy", "--type", OURS[kind])
        check(f"ours {kind} named", np.load(folder / "same.npy"), a, kind)

    wavelengths = [0.4, 0.5, 0.6, 0.7, 2.5]
    metadata = {
        "wavelength": wavelengths, "wavelength units": "Micrometers", "fwhm": [0.01] * 5, "bbl": [1, 1, 0, 1, 1],
        "band names": list("abcde"), "map info": ["UTM", 1, 1, 5e5, 4.4e6, 20, 20, 16, "North", "WGS-84"],
    }
    envi.save_image(str(folder / "meta.hdr"), image("u2"), metadata=metadata, interleave="bil", force=True)
    convert(folder / "meta.hdr", folder / "meta2.bip")
    back = envi.open(folder / "meta2.hdr", folder / "meta2.bip")
    check("wavelengths through SPy", np.array(back.bands.centers), np.array([1000 * w for w in wavelengths]).round(6))
    check("fwhm through SPy", np.array(back.bands.bandwidths), np.full(5, 10.0))
    for name in ["bbl", "band names", "map info"]:
        theirs = envi.open(folder / "meta.hdr").metadata[name]
        check(f"{name} through SPy", np.array(back.metadata[name]), np.array(theirs))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
    print(f"{failures} failed")
    sys.exit(failures > 0)
