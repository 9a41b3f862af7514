"""Blind hyperspectral super-resolution: two images of one scene in, fine pixels with all bands out.

>>> import hsr_gpu
>>> fused = hsr_gpu.fuse("lr.tif", "hr.tif")            # doctest: +SKIP
>>> fused.image.shape                                    # doctest: +SKIP
(512, 512, 200)

Images are NumPy arrays of rows x columns x bands, ``xarray.DataArray`` or names of files. Errors of the caller are
``ValueError``, failures of the work ``RuntimeError``; Ctrl-C raises ``KeyboardInterrupt`` within a second.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core, _images
from ._fused import Aligned, Estimate, Fused, Simulated, Verdict
from ._progress import reporter

__all__ = [
    "Aligned",
    "Estimate",
    "Fused",
    "Simulated",
    "Verdict",
    "align",
    "devices",
    "estimate",
    "evaluate",
    "finetune",
    "fuse",
    "infer",
    "simulate",
    "train",
]
__version__: str = _core.__version__

#: An image: an array, an ``xarray.DataArray`` or the name of a file.
ImageLike = Any
Response = str | os.PathLike[str] | npt.ArrayLike
Progress = bool | Callable[[str, int, int], None]


def fuse(
    hsi: ImageLike,
    msi: ImageLike,
    *,
    psf: Response = "blind",
    srf: Response = "blind",
    grid: str = "msi",
    scale: int | None = None,
    align: str = "auto",
    ignore_georeference: bool = False,
    mask: npt.ArrayLike | None = None,
    hsi_mask: npt.ArrayLike | None = None,
    wavelengths: npt.ArrayLike | None = None,
    nodata: float | None = None,
    backend: str = "auto",
    adapter: str | None = None,
    seed: int = 0,
    std: bool = False,
    preset: str = "single-scene",
    steps: int | None = None,
    members: int | None = None,
    progress: Progress = True,
    **config: Any,
) -> Fused:
    """Fuse a low-resolution hyperspectral and a high-resolution multispectral image of one scene.

    Parameters
    ----------
    hsi
        Low-resolution hyperspectral image, h x w x B.
    msi
        High-resolution multispectral or RGB image, H x W x b.
    psf
        Point spread function on the pixels of the MSI: ``"blind"`` (estimated), a name such as ``"paper:5"`` or
        ``"gaussian:2.5,1.5,0.6"``, a file, or K x K weights.
    srf
        Spectral response: ``"blind"``, a sensor's name such as ``"sentinel-2a:B2,B3,B4"``, a file, or B x b weights.
    grid
        Whose pixels the result lies on: ``"msi"``, or ``"hsi"`` for those of the HSI divided by the ratio.
    scale
        The ratio of the pixel grids that is expected; images that have another are refused. The ratio itself follows
        from the pixel grids of both images, or else from their sizes.
    align
        How far the images are registered to each other: ``"off"``, ``"shift"``, ``"affine"``, ``"local"``, or
        ``"auto"`` for as far as pixels that were held out reward it.
    ignore_georeference
        Place the images by their sizes, whatever their pixel grids say.
    mask, hsi_mask
        Pixels of the MSI and of the HSI that may be used (true or not 0), H x W and h x w.
    wavelengths
        Band centres of the HSI in nm, where the image does not bring them.
    nodata
        Value that stands for "no data" in arrays.
    backend, adapter
        ``"auto"`` (a hardware GPU where there is one, else the CPU), ``"gpu"`` or ``"cpu"``; number or part of the name
        of a GPU.
    seed
        The same seed on the same device gives the same bits.
    std
        Also compute a standard deviation for every sample (:attr:`Fused.std`).
    preset, steps, members, **config
        Preset, steps of training, networks that are trained side by side, and further settings as in the program's
        ``--config``: ``training={"batch": 64}``, ``refine="off"``.
    progress
        ``True`` shows a bar where tqdm is installed, ``False`` shows nothing; or a function of (stage, done, total).

    Returns
    -------
    Fused
        The image (H x W x B, in the unit of the HSI) and what was found. ``DataArray`` in gives ``DataArray`` out.

    Raises
    ------
    ValueError
        Where the images do not fit each other or an option is wrong.
    RuntimeError
        Where training diverges or a device fails.

    Warns
    -----
    UserWarning
        Where the verdict on the result is not good (:attr:`Fused.verdict`).

    Examples
    --------
    >>> import hsr_gpu, numpy as np
    >>> truth = np.random.default_rng(0).random((32, 32, 8), dtype=np.float32) + 1
    >>> hsi, msi, _ = hsr_gpu.simulate(truth, np.ones((4, 4)), np.eye(8)[:, [1, 4, 6]], 4)
    >>> fused = hsr_gpu.fuse(hsi, msi, steps=50, progress=False)
    >>> fused.image.shape
    (32, 32, 8)
    """
    x = _images.image(hsi, mask=hsi_mask, wavelengths=wavelengths, nodata=nodata)
    y = _images.image(msi, mask=mask, nodata=nodata)
    how = _settings(
        preset,
        config,
        steps=steps,
        members=members,
        seed=seed,
        backend=backend,
        adapter=adapter,
        std=std,
        grid=grid,
        scale=scale,
        align=align,
        ignore_georeference=ignore_georeference,
    )
    with reporter(progress) as report:
        parts = _core.fuse((x.core, y.core), (_response(psf, "psf"), _response(srf, "srf")), how, report)
    fused = Fused(*parts, hsi=x, msi=y)
    if not fused.verdict.good:
        warnings.warn(f"hsr_gpu: the verdict is {fused.verdict}", stacklevel=2)
    return fused


def estimate(
    hsi: ImageLike,
    msi: ImageLike,
    *,
    psf: Response = "blind",
    srf: Response = "blind",
    scale: int | None = None,
    align: str = "auto",
    ignore_georeference: bool = False,
    mask: npt.ArrayLike | None = None,
    hsi_mask: npt.ArrayLike | None = None,
    wavelengths: npt.ArrayLike | None = None,
    nodata: float | None = None,
    preset: str = "single-scene",
    **config: Any,
) -> Estimate:
    """Estimate the point spread function and the spectral response from two images alone.

    Parameters and errors are those of :func:`fuse`.

    Returns
    -------
    Estimate
        ``psf`` (K x K, sum 1), ``srf`` (B x b, columns sum to 1), ``report``.
    """
    x = _images.image(hsi, mask=hsi_mask, wavelengths=wavelengths, nodata=nodata)
    y = _images.image(msi, mask=mask, nodata=nodata)
    how = _settings(preset, config, scale=scale, align=align, ignore_georeference=ignore_georeference)
    responses = (_response(psf, "psf"), _response(srf, "srf"))
    found_psf, found_srf, report = _core.estimate((x.core, y.core), responses, how)
    return Estimate(psf=found_psf, srf=found_srf, report=json.loads(report))


def align(
    hsi: ImageLike,
    msi: ImageLike,
    *,
    align: str = "auto",
    ignore_georeference: bool = False,
    mask: npt.ArrayLike | None = None,
    hsi_mask: npt.ArrayLike | None = None,
    nodata: float | None = None,
) -> Aligned:
    """Bring the MSI onto the pixels of the HSI, each divided by the ratio rounded up.

    Parameters and errors are those of :func:`fuse`.

    Returns
    -------
    Aligned
        ``image`` (in the unit of the MSI, NaN where it shows nothing) and ``alignment``, what was found of its place.
    """
    x = _images.image(hsi, mask=hsi_mask, nodata=nodata)
    y = _images.image(msi, mask=mask, nodata=nodata)
    how = _settings("single-scene", {}, align=align, ignore_georeference=ignore_georeference)
    (samples, facts), placement = _core.align((x.core, y.core), how)
    image = _images.like(samples, json.loads(facts), y, x, "aligned")
    return Aligned(image=image, alignment=json.loads(placement))


def train(
    scenes: Iterable[tuple[ImageLike, ImageLike]],
    out: str | os.PathLike[str],
    *,
    psf: Response = "blind",
    srf: Response = "blind",
    align: str = "auto",
    ignore_georeference: bool = False,
    backend: str = "auto",
    adapter: str | None = None,
    seed: int = 0,
    preset: str = "cave",
    steps: int | None = None,
    members: int | None = None,
    progress: Progress = True,
    **config: Any,
) -> dict[str, Any]:
    """Train network and degradation on many scenes, into a model that :func:`finetune` and :func:`infer` go on from.

    Parameters
    ----------
    scenes
        Pairs of a low-resolution hyperspectral and a high-resolution multispectral image, all with the same bands and
        ratio.
    out
        The model to write (.safetensors).

    The others are those of :func:`fuse`, and so are the errors.

    Returns
    -------
    dict
        The objective: ``epochs`` of means over stretches of steps, and ``rises``.
    """
    pairs = [(_images.image(hsi).core, _images.image(msi).core) for hsi, msi in scenes]
    how = _settings(
        preset,
        config,
        steps=steps,
        members=members,
        seed=seed,
        backend=backend,
        adapter=adapter,
        align=align,
        ignore_georeference=ignore_georeference,
    )
    responses = (_response(psf, "psf"), _response(srf, "srf"))
    with reporter(progress) as report:
        objective: dict[str, Any] = json.loads(_core.train(pairs, responses, how, os.fspath(out), report))
    return objective


def finetune(
    model: str | os.PathLike[str],
    hsi: ImageLike,
    msi: ImageLike,
    out: str | os.PathLike[str],
    *,
    psf: Response | None = None,
    align: str = "auto",
    ignore_georeference: bool = False,
    backend: str = "auto",
    adapter: str | None = None,
    steps: int | None = None,
    progress: Progress = True,
) -> dict[str, Any]:
    """Fine-tune the decoders of a trained model on one more pair, on frozen abundances.

    Parameters
    ----------
    model, out
        The model to go on from and the one to write (.safetensors).
    psf
        As in :func:`fuse`; ``None`` leaves that of the model.

    The others are those of :func:`fuse`, and so are the errors.

    Returns
    -------
    dict
        The objective, as of :func:`train`.
    """
    images = (_images.image(hsi).core, _images.image(msi).core)
    how = _settings(
        "single-scene", {}, backend=backend, adapter=adapter, align=align, ignore_georeference=ignore_georeference
    )
    known = None if psf is None else _response(psf, "psf")
    models = (os.fspath(model), os.fspath(out))
    with reporter(progress) as report:
        objective: dict[str, Any] = json.loads(_core.finetune(models, images, known, (how, steps), report))
    return objective


def infer(
    model: str | os.PathLike[str], msi: ImageLike, *, backend: str = "auto", adapter: str | None = None
) -> Any:
    """The image that a trained model makes of a multispectral image, H x W x B in the unit of the HSI of its training.

    Parameters and errors are those of :func:`finetune`. A ``DataArray`` gives a ``DataArray``.
    """
    y = _images.image(msi)
    samples, facts = _core.infer(os.fspath(model), y.core, backend, adapter)
    return _images.placed(samples, json.loads(facts), y, "inferred")


def simulate(
    reference: ImageLike,
    psf: Response,
    srf: Response,
    scale: int,
    *,
    snr_hsi: float | None = None,
    snr_msi: float | None = None,
    seed: int = 0,
) -> Simulated:
    """Degrade a reference into an HSI and an MSI (Wald's protocol).

    Parameters
    ----------
    reference
        Hyperspectral image, H x W x B.
    psf, srf
        As in :func:`fuse`, but not ``"blind"``.
    scale
        Ratio of the pixel grids.
    snr_hsi, snr_msi
        Signal-to-noise ratio in dB of white noise; none without.
    seed
        Seed of the noise.

    Returns
    -------
    Simulated
        ``hsi`` (h x w x B), ``msi`` (H x W x b) and ``reference``, the part of it that they show: an LR pixel whose PSF
        reaches beyond the reference is left out, because nobody knows what lies there.
    """
    x = _images.image(reference)
    responses = (_response(psf, "psf"), _response(srf, "srf"))
    made = _core.simulate(x.core, responses, scale, (snr_hsi, snr_msi, seed))
    names = ("hsi", "msi", "reference")
    return Simulated(*(_images.placed(part, json.loads(facts), x, name) for (part, facts), name in zip(made, names)))


def evaluate(
    reference: ImageLike, estimate: ImageLike, scale: int | None = None, *, convention: str = "strict"
) -> dict[str, Any]:
    """PSNR (dB), SAM (degrees), ERGAS, UIQI, SSIM and RMSE of an estimate against its reference.

    Both are rows x columns x bands in one unit. ``scale`` is the ratio of the pixel grids, which ERGAS is normalised
    with; without it there is none. ``convention`` is ``"strict"`` (textbook definitions) or ``"daem"`` (the code published with Guo et al. 2023).
    """
    images = (_images.image(reference).core, _images.image(estimate).core)
    scores: dict[str, Any] = json.loads(_core.evaluate(images, scale, convention))
    if scale is None and convention != "daem":
        del scores["ergas"]
    return scores


def devices() -> list[dict[str, Any]]:
    """The GPU adapters of this machine, with limits and features."""
    adapters: list[dict[str, Any]] = json.loads(_core.devices())
    return adapters


def _response(given: Response, what: str) -> str | npt.NDArray[np.float64]:
    if isinstance(given, (str, os.PathLike)):
        return os.fspath(given)
    weights = np.ascontiguousarray(given, dtype=np.float64)
    if weights.ndim != 2:
        raise ValueError(f"{what}: a matrix is needed, not an array of shape {weights.shape}")
    return weights


def _settings(
    preset: str,
    config: Mapping[str, Any],
    *,
    steps: int | None = None,
    members: int | None = None,
    **others: Any,
) -> str:
    """A preset, settings over it, and what else there is to say, as the core takes them."""
    settings = {key: dict(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    for table, key, value in (("training", "steps", steps), ("network", "members", members)):
        if value is not None:
            settings.setdefault(table, {})[key] = int(value)
    try:
        return json.dumps({"preset": preset, "config": settings, **others}, default=_plain)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"settings of the fusion: {error}") from error


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy as JSON has them."""
    return value.item() if isinstance(value, np.generic) else value.tolist()
