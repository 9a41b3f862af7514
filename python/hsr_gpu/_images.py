"""Images as users bring them, as the compiled core takes them, and back."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

#: Names of dimensions that mean bands, rows and columns.
BANDS = ("band", "bands", "wavelength", "wavelengths", "spectral", "lambda", "z")
ROWS = ("y", "row", "rows", "line", "lines", "lat", "latitude", "northing")
COLUMNS = ("x", "column", "columns", "col", "sample", "samples", "lon", "longitude", "easting")
#: Nanometres of a unit of wavelength.
UNITS = {"nm": 1.0, "nanometer": 1.0, "nanometers": 1.0, "nanometre": 1.0, "nanometres": 1.0,
         "um": 1e3, "µm": 1e3, "μm": 1e3, "micrometer": 1e3, "micrometers": 1e3, "micrometre": 1e3,
         "micrometres": 1e3, "micron": 1e3, "microns": 1e3, "m": 1e9}  # fmt: skip


@dataclass
class Image:
    """An image as the core takes it, and the ``DataArray`` that it was, if it was one."""

    #: Samples (rows x columns x bands, float32) or a file's name, mask or None, facts as JSON.
    core: tuple[npt.NDArray[np.float32] | str, npt.NDArray[np.bool_] | None, str]
    #: The user's own.
    array: Any = None
    #: Names of its dimensions of rows, columns and bands.
    dims: tuple[str, str, str] = field(default=("y", "x", "band"))


def image(
    given: Any,
    *,
    mask: npt.ArrayLike | None = None,
    wavelengths: npt.ArrayLike | None = None,
    nodata: float | None = None,
) -> Image:
    """Whatever a user calls an image."""
    facts: dict[str, Any] = {}
    if nodata is not None:
        facts["nodata"] = float(nodata)
    valid: npt.NDArray[np.bool_] | None = None
    if mask is not None:
        valid = np.ascontiguousarray(np.asarray(mask).astype(bool))
        if valid.ndim != 2:
            raise ValueError(f"a mask is a matrix of pixels, not an array of shape {valid.shape}")
    if isinstance(given, (str, os.PathLike)):
        if wavelengths is not None or nodata is not None:
            raise ValueError(
                f"{os.fspath(given)}: wavelengths and nodata are for arrays; a file brings its own"
            )
        return Image((os.fspath(given), valid, json.dumps(facts)))
    is_xarray = hasattr(given, "dims") and hasattr(given, "coords") and hasattr(given, "attrs")
    dims = ("y", "x", "band")
    samples = given
    if is_xarray:
        dims = dims_of(given)
        facts.update({k: v for k, v in _facts(given, dims).items() if k not in facts})
        samples = given.transpose(*dims).values
    samples = np.asanyarray(samples)
    if samples.ndim == 2:
        samples = samples[:, :, np.newaxis]
    if samples.ndim != 3:
        raise ValueError(f"an image is rows x columns x bands, not an array of shape {samples.shape}")
    if samples.dtype.kind not in "buif":
        raise ValueError(f"an image of numbers is needed, not of {samples.dtype}")
    if isinstance(samples, np.ma.MaskedArray):
        outside = np.asarray(np.ma.getmaskarray(samples).any(axis=2))
        valid = ~outside if valid is None else np.logical_and(valid, ~outside)
        samples = samples.filled(0)
    if wavelengths is not None:
        facts["wavelengths"] = np.asarray(wavelengths, dtype=float).ravel().tolist()
    core = (np.ascontiguousarray(samples, dtype=np.float32), valid, json.dumps(facts))
    return Image(core, given if is_xarray else None, dims)


def dims_of(array: Any) -> tuple[str, str, str]:
    """Names of the dimensions of rows, columns and bands of a ``DataArray``."""
    names = {str(d).lower(): str(d) for d in array.dims}
    found = [next((names[n] for n in known if n in names), None) for known in (ROWS, COLUMNS, BANDS)]
    if array.ndim == 3 and found.count(None) == 1:
        left = [str(d) for d in array.dims if str(d) not in found]
        found[found.index(None)] = left[0]
    if array.ndim != 3 or None in found:
        raise ValueError(
            f"dimensions {tuple(array.dims)}: an image has y, x and band (rename them with .rename)"
        )
    return (str(found[0]), str(found[1]), str(found[2]))


def _facts(array: Any, dims: tuple[str, str, str]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name in (*array.coords, *array.attrs):
        if str(name).lower() not in ("wavelength", "wavelengths", "center_wavelength"):
            continue
        coordinate = name in array.coords
        values = np.asarray(array.coords[name].values if coordinate else array.attrs[name])
        if values.ndim != 1 or values.size != array.sizes[dims[2]] or values.dtype.kind not in "uif":
            continue
        attrs = array.coords[name].attrs if coordinate else {}
        unit = str(attrs.get("units", attrs.get("unit", array.attrs.get("wavelength_units", "nm"))))
        if unit.lower() not in UNITS:
            raise ValueError(f"wavelengths in '{unit}': use nm, um or m")
        facts["wavelengths"] = (values * UNITS[unit.lower()]).astype(float).tolist()
        break
    nodata = array.attrs.get("_FillValue", array.encoding.get("_FillValue"))
    accessor = getattr(array, "rio", None)
    if accessor is not None:
        nodata = accessor.nodata if accessor.nodata is not None else nodata
        if accessor.crs is not None:
            facts["wkt"] = accessor.crs.to_wkt()
            facts["epsg"] = accessor.crs.to_epsg()
    grid = _transform(array, dims)
    if grid is not None:
        facts["transform"] = grid
    if nodata is not None and np.ndim(nodata) == 0 and np.isfinite(nodata):
        facts["nodata"] = float(nodata)
    return facts


def _transform(array: Any, dims: tuple[str, str, str]) -> list[float] | None:
    """GDAL's six numbers from coordinates of pixel centres, if they are evenly spaced."""
    axes = []
    for dim in dims[:2]:
        if dim not in array.coords:
            return None
        at = np.asarray(array.coords[dim].values)
        if at.ndim != 1 or at.size < 2 or at.dtype.kind not in "uif":
            return None
        step = (float(at[-1]) - float(at[0])) / (at.size - 1)
        if step == 0 or np.abs(np.diff(at.astype(float)) - step).max() > 1e-3 * abs(step):
            return None
        axes.append((float(at[0]) - step / 2, step))
    (top, down), (left, across) = axes
    return [left, across, 0.0, top, 0.0, down]


def like(
    samples: npt.NDArray[np.float32], facts: dict[str, Any], hsi: Image, msi: Image, name: str
) -> Any:
    """Samples of a result with the bands of ``hsi`` on the pixels of ``msi``: as a ``DataArray`` where one of them was one,
    else as they are."""
    if hsi.array is None and msi.array is None:
        return samples
    import xarray

    rows, columns = msi.dims[:2]
    bands = hsi.dims[2] if hsi.array is not None else "band"
    coords: dict[str, Any] = {}
    if hsi.array is not None:
        for key, value in hsi.array.coords.items():
            if value.dims == (hsi.dims[2],) and value.size == samples.shape[2]:
                coords[str(key)] = (bands, value.values, value.attrs)
    elif facts.get("wavelengths"):
        coords["wavelength"] = (bands, facts["wavelengths"], {"units": "nm"})
    coords.update(_pixel_coords(samples.shape, facts, (rows, columns)))
    if msi.array is not None:
        for dim, size in ((rows, samples.shape[0]), (columns, samples.shape[1])):
            if dim not in msi.array.coords or msi.array.sizes[dim] != size:
                continue
            theirs = msi.array.coords[dim]
            if dim not in coords or np.allclose(theirs.values, coords[dim][1], rtol=1e-9, atol=0):
                # The user's own coordinates, to the bit.
                coords[dim] = theirs
        if "spatial_ref" in msi.array.coords:
            coords["spatial_ref"] = msi.array.coords["spatial_ref"]
    attrs = dict(hsi.array.attrs) if hsi.array is not None else {}
    fused = xarray.DataArray(samples, dims=(rows, columns, bands), coords=coords, attrs=attrs, name=name)
    template = hsi if hsi.array is not None else msi
    place = {template.dims[0]: rows, template.dims[1]: columns, template.dims[2]: bands}
    return fused.transpose(*(place[str(d)] for d in template.array.dims))


def placed(samples: npt.NDArray[np.float32], facts: dict[str, Any], template: Image, name: str) -> Any:
    """An image made of ``template`` with other pixels or bands, as a ``DataArray`` where that was one."""
    if template.array is None:
        return samples
    import xarray

    rows, columns, bands = template.dims
    coords = _pixel_coords(samples.shape, facts, (rows, columns))
    if facts.get("wavelengths"):
        coords["wavelength"] = (bands, facts["wavelengths"], {"units": "nm"})
    if "spatial_ref" in template.array.coords:
        coords["spatial_ref"] = template.array.coords["spatial_ref"]
    made = xarray.DataArray(samples, dims=template.dims, coords=coords, attrs=dict(template.array.attrs), name=name)
    return made.transpose(*template.array.dims)


def _pixel_coords(shape: tuple[int, ...], facts: dict[str, Any], dims: tuple[str, str]) -> dict[str, Any]:
    """Coordinates of pixel centres on a grid that is not rotated."""
    transform = facts.get("transform")
    if transform is None or transform[2] != 0 or transform[4] != 0:
        return {}
    left, across, _, top, _, down = transform
    rows, columns = dims
    return {
        rows: (rows, top + down * (np.arange(shape[0]) + 0.5)),
        columns: (columns, left + across * (np.arange(shape[1]) + 0.5)),
    }
