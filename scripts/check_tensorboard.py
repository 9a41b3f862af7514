#!/usr/bin/env python3
"""Loads the event files of --log with TensorBoard's own reader and says what is in them.

Fails where a file is damaged, a curve is missing or not finite, or the pictures of the PSF cannot be decoded. Run it as

    python3 -m venv .venv && .venv/bin/pip install tensorboard pillow
    hsr-gpu fuse --hsi x.npy --msi y.npy --out z.npy --log log
    .venv/bin/python scripts/check_tensorboard.py log
"""

import io
import math
import sys

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    events = EventAccumulator(sys.argv[1], size_guidance={SCALARS: 0, IMAGES: 0})
    events.Reload()
    tags = events.Tags()
    for wanted in ("train/L_phi", "train/L_theta"):
        assert wanted in tags["scalars"], f"no curve {wanted} among {tags['scalars']}"
    for tag in sorted(tags["scalars"]):
        points = events.Scalars(tag)
        steps = [p.step for p in points]
        assert all(math.isfinite(p.value) for p in points), f"{tag}: not finite"
        assert steps == sorted(set(steps)), f"{tag}: steps are not in order"
        print(f"{tag}: {len(points)} points, step {steps[0]} to {steps[-1]}, {points[0].value:.6g} -> {points[-1].value:.6g}")
    pictures = events.Images("psf")
    assert len(pictures) >= 2, "no PSF at the start and the end"
    for picture in pictures:
        decoded = Image.open(io.BytesIO(picture.encoded_image_string))
        assert decoded.size == (picture.width, picture.height)
        assert len(decoded.convert("L").getcolors()) > 2, "the PSF is one colour"
        print(f"psf: step {picture.step}, {picture.width} x {picture.height}")


if __name__ == "__main__":
    main()
