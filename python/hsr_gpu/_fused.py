"""What a fusion and an estimate return."""

from __future__ import annotations

import base64
import html
import json
import os
import struct
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core, _images


@dataclass(frozen=True)
class Estimate:
    """Point spread function and spectral response of two images."""

    #: K x K on the pixels of the MSI, sum 1.
    psf: npt.NDArray[np.float64]
    #: B x b, columns sum to 1.
    srf: npt.NDArray[np.float64]
    #: Misfit of the two images through both, variances and centre of the PSF, gains, remarks.
    report: dict[str, Any]


@dataclass(frozen=True)
class Aligned:
    """An MSI on the pixels of an HSI, each divided by the ratio."""

    #: In the unit of the MSI, NaN where it shows nothing; a ``DataArray`` where one came in.
    image: Any
    #: Ratio, parts of both images that take part, and what registration found, in the words of the program's ``--json``.
    alignment: dict[str, Any]


class Simulated(NamedTuple):
    """The two images of a reference, and the part of it that they show; a ``DataArray`` each where one came in."""

    #: h x w x B.
    hsi: Any
    #: H x W x b.
    msi: Any
    #: H x W x B.
    reference: Any


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of a result, in one line."""

    #: ``"good"``, ``"doubtful"`` or ``"not_the_same_scene"``.
    word: str
    #: What was seen; empty where nothing speaks against the result.
    why: str = ""
    #: What may help; empty where nothing is known to.
    remedy: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing speaks against the result."""
        return self.word == "good"

    def __str__(self) -> str:
        line = self.word.replace("_", " ")
        line += f": {self.why}" if self.why else ""
        return line + (f"; try {self.remedy}" if self.remedy else "")


class Fused:
    """A fused image and everything that was found on the way."""

    def __init__(
        self,
        image: tuple[npt.NDArray[np.float32], str],
        std: npt.NDArray[np.float32] | None,
        psf: npt.NDArray[np.float64],
        srf: npt.NDArray[np.float64],
        report: str,
        *,
        hsi: _images.Image,
        msi: _images.Image,
    ) -> None:
        self._samples, self._facts = image
        known = json.loads(self._facts)
        #: The image, H x W x B float32 in the unit of the HSI; a ``DataArray`` where one came in.
        self.image: Any = _images.like(self._samples, known, hsi, msi, "fused")
        #: A standard deviation for every sample in the same form, or None where it was not asked for.
        self.std: Any = None if std is None else _images.like(std, known, hsi, msi, "std")
        #: Point spread function, K x K on the pixels of the MSI, sum 1.
        self.psf = psf
        #: Spectral response, B x b, columns sum to 1.
        self.srf = srf
        #: Everything that the program's ``--json`` tells.
        self.report: dict[str, Any] = json.loads(report)

    @property
    def verdict(self) -> Verdict:
        """What is to be thought of the result."""
        told = self.report["verdict"]
        return Verdict(told["verdict"], told.get("why", ""), told.get("remedy", ""))

    @property
    def alignment(self) -> dict[str, Any]:
        """How the two images lie on each other: ratio, the parts that take part, what registration found."""
        placement: dict[str, Any] = self.report["placement"]
        return placement

    @property
    def history(self) -> list[dict[str, Any]]:
        """Means of the losses over stretches of training."""
        epochs: list[dict[str, Any]] = self.report["objective"]["epochs"]
        return epochs

    @property
    def wavelengths(self) -> npt.NDArray[np.float64] | None:
        """Band centres in nm, where they are known."""
        known = json.loads(self._facts).get("wavelengths")
        return None if known is None else np.asarray(known)

    def metrics(self, reference: Any, *, convention: str = "strict") -> dict[str, Any]:
        """Indices against a reference of the same shape; see :func:`hsr_gpu.evaluate`."""
        scale: int = self.report["scale"]
        images = (_images.image(reference).core, (self._samples, None, "{}"))
        scores: dict[str, Any] = json.loads(_core.evaluate(images, scale, convention))
        return scores

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the image in the format that the name asks for: .npy, .npz, .mat, .hdr (ENVI) or .tif."""
        _core.write((self._samples, None, self._facts), os.fspath(path))

    def to_xarray(self) -> Any:
        """The image as a ``DataArray`` (y, x, band), with wavelengths and coordinates where they are known."""
        import xarray

        if isinstance(self.image, xarray.DataArray):
            return self.image
        bare = _images.Image(("", None, "{}"), xarray.DataArray(self._samples, dims=("y", "x", "band")))
        return _images.like(
            self._samples, json.loads(self._facts), _images.Image(("", None, "{}")), bare, "fused"
        )

    def to_netcdf(self, path: str | os.PathLike[str]) -> None:
        """Write the image as netCDF through xarray."""
        self.to_xarray().to_netcdf(path)

    def to_rasterio(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the image through rioxarray and rasterio; ``options`` are those of ``rio.to_raster``."""
        import rioxarray  # noqa: F401  (gives arrays their ``rio``)

        array = self.to_xarray()
        rows, columns, bands = _images.dims_of(array)
        array = array.transpose(bands, rows, columns).rio.set_spatial_dims(x_dim=columns, y_dim=rows)
        array.rio.to_raster(path, **options)

    def to_zarr(self, path: str | os.PathLike[str]) -> None:
        """Write the image as Zarr through xarray."""
        self.to_xarray().to_dataset(name="fused").to_zarr(path)

    def __repr__(self) -> str:
        rows, columns, bands = self._samples.shape
        return f"<hsr_gpu.Fused {rows} x {columns} x {bands}, ratio {self.report['scale']}, {self.verdict.word}>"

    def _repr_html_(self) -> str:
        """A quick look and a table, for notebooks."""
        degradation = self.report["degradation"]
        rows = [
            ("rows x columns x bands", " x ".join(map(str, self._samples.shape))),
            ("ratio", self.report["scale"]),
            ("device", self.report["engine"]),
            ("PSF", f"{degradation['psf']}, {self.psf.shape[0]} x {self.psf.shape[1]}"),
            ("SRF", degradation["srf"]),
            ("misfit", f"{100 * degradation['misfit']['after']:.2f} %"),
            ("verdict", str(self.verdict)),
        ]
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in rows)
        picture = base64.b64encode(_png(self._quick_look())).decode()
        return (
            f'<div><img alt="quick look" style="image-rendering:pixelated;max-width:24em" '
            f'src="data:image/png;base64,{picture}"/><table>{cells}</table></div>'
        )

    def _quick_look(self) -> npt.NDArray[np.uint8]:
        """Red, green and blue by wavelength (else bands spread evenly), 2 to 98 %, at most 384 pixels wide."""
        bands = self._samples.shape[2]
        at = self.wavelengths
        if at is None or at.min() > 500 or at.max() < 600:
            chosen = [round((bands - 1) * part) for part in (0.8, 0.5, 0.2)]
        else:
            chosen = [int(np.abs(at - nm).argmin()) for nm in (650.0, 550.0, 460.0)]
        step = max(1, max(self._samples.shape[:2]) // 384)
        look = self._samples[::step, ::step, chosen].astype(np.float64)
        low, high = np.nanpercentile(look, [2, 98], axis=(0, 1))
        scaled = (look - low) / np.maximum(high - low, 1e-12)
        return np.asarray(255 * np.clip(np.nan_to_num(scaled), 0, 1), dtype=np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """An RGB picture as PNG."""
    rows, columns, _ = pixels.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + line.tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )
