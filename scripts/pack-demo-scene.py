#!/usr/bin/env python3
"""Packs the AVIRIS Indian Pines scene into assets/demo/indian-pines.png. Needs numpy.

Usage: pack-demo-scene.py indian_pines.npy assets/demo/indian-pines.png

The input is the 145 x 145 x 200 scene (water bands removed) as unsigned 16-bit integers; the first 144 x 144 pixels
are kept, with all bands and without loss. The PNG is a container, not a picture: every sample is replaced by its
difference from the band before, that by its difference from the column before, that by the zigzag number
(0, -1, 1, -2, ... -> 0, 1, 2, 3, ...), and these 16-bit numbers are laid out band by band, first all high bytes, then
all low bytes, as an 8-bit grey image 144 pixels wide. src/cube/demo_scene.rs undoes it.
"""

import struct
import sys
import zlib

import numpy as np

SIDE, BANDS = 144, 200


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def main(source, target):
    scene = np.load(source)
    assert scene.dtype == np.uint16 and scene.shape == (145, 145, BANDS), (scene.dtype, scene.shape)
    bands = scene[:SIDE, :SIDE].astype(np.int64).transpose(2, 0, 1)
    residual = np.diff(bands, axis=0, prepend=0)
    residual = np.diff(residual, axis=2, prepend=0)
    zigzag = np.where(residual >= 0, 2 * residual, -2 * residual - 1)
    assert zigzag.max() < 1 << 16
    planes = np.concatenate([zigzag >> 8, zigzag & 255]).astype(np.uint8).reshape(-1, SIDE)
    rows = np.concatenate([np.zeros((len(planes), 1), np.uint8), planes], axis=1)  # filter type 0: none
    note = (
        "AVIRIS Indian Pines test site 3, 12 June 1992. NASA/JPL AVIRIS; Baumgardner, Biehl, Landgrebe, "
        "Purdue University Research Repository, doi:10.4231/R7RX991C"
    )
    png = b"\x89PNG\r\n\x1a\n"
    png += chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, len(planes), 8, 0, 0, 0, 0))
    png += chunk(b"tEXt", b"Source\0" + note.encode("latin-1"))
    png += chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
    png += chunk(b"IEND", b"")
    with open(target, "wb") as file:
        file.write(png)
    print(f"{target}: {len(png)} bytes, sum of samples {int(bands.sum())}")


if __name__ == "__main__":
    main(*sys.argv[1:])
