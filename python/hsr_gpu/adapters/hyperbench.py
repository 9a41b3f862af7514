"""A pipeline for the package HyperBench: ``PipelineAdapter(hsr_gpu.adapters.hyperbench, name="hsr-gpu")``.

HyperBench blurs with an odd kernel and averages blocks of s x s pixels; the point spread function of that is the kernel
convolved with the block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import hsr_gpu


def block_psf(kernel: npt.ArrayLike, scale: int) -> npt.NDArray[np.float64]:
    """The PSF of blurring with ``kernel`` (odd, K x K) and averaging blocks: (K + scale - 1) squared, sum 1.

    HyperBench convolves with its kernel; a PSF weighs pixels where they lie, so it is the kernel turned round.
    """
    blur = np.asarray(kernel, dtype=np.float64)[::-1, ::-1]
    rows, columns = blur.shape
    psf = np.zeros((rows + scale - 1, columns + scale - 1))
    for i in range(scale):
        for j in range(scale):
            psf[i : i + rows, j : j + columns] += blur
    return np.asarray(psf / psf.sum())


def run_pipeline(
    HR_MSI: npt.ArrayLike,
    LR_HSI: npt.ArrayLike,
    srf: npt.ArrayLike | None,
    psf: npt.ArrayLike | None = None,
    metadata: dict[str, Any] | None = None,
    **config: Any,
) -> npt.NDArray[np.float32]:
    """Fuse a pair of HyperBench. ``srf`` (b x B or B x b) and ``psf`` are used where they are given.

    Images may have a first axis of length 1 (a batch); the result then has it, too. ``config`` is that of
    :func:`hsr_gpu.fuse`.
    """
    hsi, msi = np.asarray(LR_HSI, dtype=np.float32), np.asarray(HR_MSI, dtype=np.float32)
    batch = hsi.ndim == 4
    if batch:
        hsi, msi = hsi[0], msi[0]
    response: Any = "blind"
    if srf is not None:
        response = np.asarray(srf, dtype=np.float64)
        if response.shape != (hsi.shape[2], msi.shape[2]):
            response = response.T
    scale = msi.shape[0] // hsi.shape[0]
    known: Any = "blind" if psf is None else block_psf(psf, scale)
    settings: dict[str, Any] = {"progress": False, **config}
    fused: npt.NDArray[np.float32] = hsr_gpu.fuse(hsi, msi, psf=known, srf=response, **settings).image
    return fused[np.newaxis] if batch else fused
