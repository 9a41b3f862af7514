"""Writes tests/fixtures: small files of other programs' making that tests/formats.rs and tests/geotiff.rs read.

Needs numpy, scipy, h5py, netCDF4, xarray, zarr, spectral, pillow, rasterio and tifffile with imagecodecs. Sample at row r, column c, band b of every image: 100 r + 10 c + b.
Run from the root of the repository: python scripts/make_fixtures.py
"""

import io
import struct
from pathlib import Path

import h5py
import numpy as np
import rasterio
import scipy.io
import spectral.io.envi
from PIL import Image
import tifffile

FOLDER = Path("tests/fixtures")
ROWS, COLUMNS, BANDS = 3, 4, 5
r, c, b = np.ogrid[:ROWS, :COLUMNS, :BANDS]
CUBE = (100 * r + 10 * c + b).astype(np.uint16)
PSF = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 3]]) / 18
WAVELENGTHS = [400.0, 450.0, 500.0, 550.0, 600.5]


def npy():
    np.save(FOLDER / "fortran_big_endian.npy", np.asfortranarray(CUBE.astype(">f8")))
    for version in [(2, 0), (3, 0)]:
        with open(FOLDER / f"version{version[0]}.npy", "wb") as f:
            np.lib.format.write_array(f, CUBE.astype("<i4"), version=version)
    np.save(FOLDER / "half.npy", CUBE.astype("<f2"))
    np.save(FOLDER / "bool.npy", CUBE % 2 == 1)


def mat5():
    everything = {"cube": CUBE.astype(float), "psf": PSF, "label": "a text", "cell": np.array([1, "x"], object)}
    scipy.io.savemat(FOLDER / "v5.mat", everything, do_compression=False)
    compressed = {"cube": CUBE, "wavelengths": np.array([WAVELENGTHS]), "nested": {"cube": CUBE}}
    scipy.io.savemat(FOLDER / "v7.mat", compressed, do_compression=True)
    scipy.io.savemat(FOLDER / "two.mat", {"first": CUBE, "second": CUBE + 1}, do_compression=True)
    scipy.io.savemat(FOLDER / "complex.mat", {"cube": CUBE * 1j})
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = {"cube": CUBE, "wavelengths": np.array([WAVELENGTHS])}, "text"
    scipy.io.savemat(FOLDER / "inside.mat", {"data": {"name": "x", "parts": cell}}, do_compression=True)
    pixels = CUBE.transpose(2, 1, 0).reshape(BANDS, COLUMNS * ROWS)  # down the columns, as MATLAB counts
    scipy.io.savemat(FOLDER / "pixels.mat", {"Y": pixels, "nRow": ROWS, "nCol": COLUMNS})


def zarr():
    """The image of cf.nc as stores of both versions, by xarray."""
    import shutil

    import xarray

    stored = np.where(CUBE == CUBE[2, 3, 4], 30000, CUBE).astype("i2").transpose(2, 0, 1)
    stored[2, 0, 1] = -9999
    attributes = dict(grid_mapping="crs", valid_range=[0, 20000], scale_factor=0.5, add_offset=10.0, _FillValue=-9999)
    scene = xarray.Dataset(
        {"refl": (("wavelength", "y", "x"), stored, attributes), "crs": ((), np.int32(0), dict(crs_wkt=rasterio.crs.CRS.from_epsg(32633).to_wkt()))},
        coords={"wavelength": ("wavelength", np.array(WAVELENGTHS) / 1000, dict(units="um")),
                "y": 4000.0 - 30 * np.arange(ROWS), "x": 500.0 + 30 * np.arange(COLUMNS)})
    for version in [2, 3]:
        name = FOLDER / f"cf_v{version}.zarr"
        shutil.rmtree(name, ignore_errors=True)
        # Decoded and encoded again: attributes of conventions become xarray's.
        decoded = xarray.decode_cf(scene)
        decoded["refl"].encoding["chunks"] = (2, 2, 3)
        decoded.to_zarr(name, zarr_format=version, consolidated=False)


def netcdf():
    """CF attributes, names of dimensions and coordinate variables; NEON's cousins of them; sensor geometry with a lookup table."""
    import netCDF4

    def create(name):
        return netCDF4.Dataset(FOLDER / name, "w")

    # Stored number n of sample x: x = 0.5 n + 10; the pixel at row 0, column 1 has no data in band 2.
    with create("cf.nc") as d:
        for name, size in [("wavelength", BANDS), ("y", ROWS), ("x", COLUMNS)]:
            d.createDimension(name, size)
        d.createVariable("wavelength", "f8", ("wavelength",))[:] = np.array(WAVELENGTHS) / 1000
        d["wavelength"].units = "um"
        d.createVariable("y", "f8", ("y",))[:] = 4000 - 30 * np.arange(ROWS)
        d.createVariable("x", "f8", ("x",))[:] = 500 + 30 * np.arange(COLUMNS)
        d.createVariable("crs", "i4", ()).crs_wkt = rasterio.crs.CRS.from_epsg(32633).to_wkt()
        v = d.createVariable("refl", "i2", ("wavelength", "y", "x"), fill_value=-9999, chunksizes=(BANDS, ROWS, COLUMNS), zlib=True)
        v.set_auto_maskandscale(False)
        v.scale_factor, v.add_offset, v.grid_mapping = 0.5, 10.0, "crs"
        v.valid_range = np.array([0, 20000], "i2")
        stored = CUBE.astype("i2").transpose(2, 0, 1)
        stored[2, 0, 1] = -9999
        stored[4, 2, 3] = 30000
        v[:] = stored
    with create("bands.nc") as d:
        d.createDimension("y", ROWS), d.createDimension("x", COLUMNS)
        for band, centre in enumerate([443, 492, 560, 665, 865]):
            v = d.createVariable(f"rhos_{centre}", "f4", ("y", "x"), fill_value=-1.0)
            v[:] = CUBE[..., band]
        v[0, 1] = -1.0
    # In the layout of PACE OCI's products of levels 2 and 3; not the agency's.
    with create("pace_l2.nc") as d:
        for name, size in [("number_of_lines", ROWS), ("pixels_per_line", COLUMNS), ("wavelength_3d", BANDS), ("number_of_bands", 7)]:
            d.createDimension(name, size)
        bands = d.createGroup("sensor_band_parameters")
        bands.createVariable("wavelength", "f4", ("number_of_bands",))[:] = np.arange(7) + 300.0
        bands.createVariable("wavelength_3d", "f8", ("wavelength_3d",))[:] = WAVELENGTHS
        bands["wavelength_3d"].units = "nm"
        place = d.createGroup("navigation_data")
        for name in ["longitude", "latitude"]:
            place.createVariable(name, "f4", ("number_of_lines", "pixels_per_line"))[:] = r[..., 0] + c[..., 0]
        fields = d.createGroup("geophysical_data")
        for name in ["Rrs", "Rrs_unc"]:
            v = fields.createVariable(name, "i2", ("number_of_lines", "pixels_per_line", "wavelength_3d"), fill_value=-32767)
            v.set_auto_maskandscale(False)
            v.scale_factor, v.add_offset = np.float32(0.5), np.float32(10.0)
            v[:] = CUBE
            v[1, 2] = -32767
        fields.createVariable("l2_flags", "i4", ("number_of_lines", "pixels_per_line"))[:] = 0
    with create("pace_l3.nc") as d:
        for name, size in [("lat", ROWS), ("lon", COLUMNS), ("wavelength", BANDS), ("rgb", 3), ("eightbitcolor", 256)]:
            d.createDimension(name, size)
        for name, values, unit in [("lat", 10 - 0.25 * np.arange(ROWS), "degrees_north"), ("lon", 20 + 0.25 * np.arange(COLUMNS), "degrees_east")]:
            d.createVariable(name, "f4", (name,))[:] = values
            d[name].units = unit
        d.createVariable("wavelength", "f8", ("wavelength",))[:] = WAVELENGTHS
        d["wavelength"].units = "nm"
        d.createVariable("Rrs", "f4", ("lat", "lon", "wavelength"), fill_value=-32767.0)[:] = CUBE
        d.createVariable("palette", "u1", ("rgb", "eightbitcolor"))[:] = 0
    # Numbers that single precision does not hold; the scaled ones are n 1e-6 + 0.25.
    with create("wide.nc") as d:
        d.createDimension("y", 1), d.createDimension("x", 3), d.createDimension("band", 2)
        doubles = d.createVariable("doubles", "f8", ("y", "x", "band"))
        doubles[:] = np.array([1e300, 1e-300, 0.1, 16777217.0, -1.0, 2.5]).reshape(1, 3, 2)
        integers = d.createVariable("integers", "i8", ("y", "x", "band"), fill_value=-9223372036854775807)
        integers[:] = np.array([2**63 - 1, 16777217, -(2**53) - 1, 0, 1, 2]).reshape(1, 3, 2)
        scaled = d.createVariable("scaled", "i4", ("band", "y", "x"))
        scaled.set_auto_maskandscale(False)
        scaled.scale_factor, scaled.add_offset = 1e-6, 0.25
        scaled[:] = np.array([123456789, 2147483647, 16777217, -5, 0, 1]).reshape(2, 1, 3)
    with h5py.File(FOLDER / "neon.h5", "w") as f:
        cube = CUBE.astype("i2")
        cube[1, 2] = -9999
        data = f.create_dataset("SITE/Reflectance/Reflectance_Data", data=cube)
        data.attrs["Data_Ignore_Value"], data.attrs["Scale_Factor"] = -9999.0, 10000.0
        spectral = f.create_group("SITE/Reflectance/Metadata/Spectral_Data")
        spectral.create_dataset("Wavelength", data=np.array(WAVELENGTHS)).attrs["Units"] = "nanometers"
        spectral.create_dataset("FWHM", data=np.full(BANDS, 5.0))
    # Rows of the grid run through the image from below, with a column of pixels that nobody sees.
    with create("emit.nc") as d:
        for name, size in [("downtrack", ROWS), ("crosstrack", COLUMNS), ("bands", BANDS), ("ortho_y", ROWS), ("ortho_x", COLUMNS + 1)]:
            d.createDimension(name, size)
        d.geotransform, d.spatial_ref = [10.0, 0.5, 0.0, 50.0, 0.0, -0.25], rasterio.crs.CRS.from_epsg(4326).to_wkt()
        v = d.createVariable("reflectance", "f4", ("downtrack", "crosstrack", "bands"), fill_value=-9999.0)
        v[:] = CUBE
        p = d.createGroup("sensor_band_parameters")
        p.createVariable("wavelengths", "f4", ("bands",), fill_value=-9999.0)[:] = WAVELENGTHS
        p["wavelengths"].units = "nm"
        p.createVariable("fwhm", "f4", ("bands",), fill_value=-9999.0)[:] = np.full(BANDS, 8.5)
        p.createVariable("good_wavelengths", "u1", ("bands",))[:] = [1, 1, 0, 1, 1]
        g = d.createGroup("location")
        x, y = np.meshgrid(np.arange(COLUMNS + 1), ROWS - np.arange(ROWS))
        g.createVariable("glt_x", "i4", ("ortho_y", "ortho_x"), fill_value=0)[:] = x
        g.createVariable("glt_y", "i4", ("ortho_y", "ortho_x"), fill_value=0)[:] = np.where(x > 0, y, 0)
    big = np.repeat(np.arange(40, dtype="u2"), 40).reshape(8, 10, 20)
    with h5py.File(FOLDER / "filters.h5", "w") as f:
        f.create_dataset("lzf", data=big, chunks=(8, 10, 20), compression="lzf", shuffle=True)
        f.create_dataset("plain", data=big)


def tiff_masks():
    """Masks inside and beside a TIFF, transparency, arrays of tifffile, compressions, scale and offset."""
    mask = np.full((ROWS, COLUMNS), 255, "u1")
    mask[1, 2] = 0
    profile = dict(driver="GTiff", height=ROWS, width=COLUMNS, dtype="uint16")

    def write(name, cube, **options):
        with rasterio.open(FOLDER / name, "w", **{**profile, "count": cube.shape[2], **options}) as f:
            f.write(cube.transpose(2, 0, 1))
            return f

    for inside, name in [(True, "mask_inside.tif"), (False, "mask_beside.tif")]:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside):
            with rasterio.open(FOLDER / name, "w", **profile, count=BANDS) as f:
                f.write(CUBE.transpose(2, 0, 1))
                f.write_mask(mask)
    colours = (CUBE[..., :3] % 200).astype("u1")
    for name, fourth in [("alpha.tif", mask), ("alpha_nir.tif", colours[..., 0] + 1)]:
        write(name, np.dstack([colours, fourth]), dtype="uint8", photometric="RGB", alpha="YES")
    for compress in ["zstd", "packbits"]:
        write(f"{compress}.tif", CUBE, compress=compress, blockysize=2)
    tifffile.imwrite(FOLDER / "array_hwb.tif", CUBE.transpose(1, 0, 2), photometric="minisblack")
    tifffile.imwrite(FOLDER / "array_bhw.tif", np.zeros((2, 3, 4), "u2") + np.arange(2, dtype="u2")[:, None, None], photometric="minisblack")
    with rasterio.open(FOLDER / "described.tif", "w", **profile, count=BANDS, nodata=None) as f:
        f.write(CUBE.transpose(2, 0, 1))
        f.scales, f.offsets = [0.5] * BANDS, [-1.0] * BANDS
        f.descriptions = [f"B{k} ({w} nm)" for k, w in enumerate(WAVELENGTHS)]


def mat5_by_hand():
    """A big-endian file whose double array is stored as 16-bit integers, as MATLAB does to save room."""

    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    body = element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">3i", ROWS, COLUMNS, BANDS))
    body += struct.pack(">HH4s", 4, 1, b"cube") + element(4, CUBE.astype(">u2").tobytes(order="F"))
    header = b"MATLAB 5.0 MAT-file, big-endian".ljust(116) + bytes(8) + b"\x01\x00MI"
    (FOLDER / "big_endian.mat").write_bytes(header + element(14, body))


def mat73():
    memory = io.BytesIO()
    with h5py.File(memory, "w", userblock_size=512) as f:
        # MATLAB stores rows x columns x bands as a dataset of bands x columns x rows.
        cube = f.create_dataset("cube", data=CUBE.T, chunks=(2, 2, 3), compression="gzip", shuffle=True)
        cube.attrs["MATLAB_class"] = np.bytes_("uint16")
        f.create_dataset("psf", data=PSF.T).attrs["MATLAB_class"] = np.bytes_("double")
        note = np.frombuffer("a text".encode("utf-16-le"), np.uint16).reshape(-1, 1)
        f.create_dataset("note", data=note).attrs["MATLAB_class"] = np.bytes_("char")
        f.create_group("#refs#").create_dataset("a", data=CUBE.T)
    header = b"MATLAB 7.3 MAT-file, made by h5py".ljust(116) + bytes(8) + b"\x00\x02IM"
    (FOLDER / "v73.mat").write_bytes(header + memory.getvalue()[128:])


def envi():
    metadata = {
        "wavelength units": "Micrometers",
        "wavelength": [w / 1000 for w in WAVELENGTHS],
        "fwhm": [0.01] * BANDS,
        "band names": [f"band {i}" for i in range(BANDS)],
        "bbl": [1, 1, 0, 1, 1],
        "data ignore value": 213,
        "map info": ["UTM", 1.0, 1.0, 500000.0, 4400000.0, 20.0, 20.0, 16, "North", "WGS-84"],
    }
    for interleave in ["bsq", "bil", "bip"]:
        spectral.io.envi.save_image(
            str(FOLDER / f"spy_{interleave}.hdr"), CUBE, dtype=np.int16, interleave=interleave,
            byteorder=1, metadata=metadata, force=True, ext="img",
        )


def tiff():
    """Every layout, compression, predictor and byte order once, from GDAL (through rasterio) and from tifffile."""
    transform = rasterio.Affine(20.0, 0.0, 500000.0, 0.0, -20.0, 4400000.0)
    for name, dtype, options in [
        ("gdal_strips_lzw", "int16", dict(interleave="pixel", compress="lzw", predictor=2, blockysize=2)),
        ("gdal_planar_deflate", "uint16", dict(interleave="band", compress="deflate", predictor=2, blockysize=2)),
        ("gdal_tiles_float", "float32", dict(interleave="pixel", compress="deflate", predictor=3, tiled=True,
                                             blockxsize=16, blockysize=16)),
        ("gdal_bigtiff_tiles", "float64", dict(interleave="band", bigtiff="yes", tiled=True, compress="lzw", predictor=3,
                                               blockxsize=16, blockysize=16)),
        ("gdal_rgb_more", "uint8", dict(interleave="pixel", photometric="rgb")),
        ("gdal_big_endian", "int32", dict(interleave="band", endianness="big")),
    ]:
        image = (CUBE % 250).astype(dtype)
        with rasterio.open(FOLDER / f"{name}.tif", "w", driver="GTiff", height=ROWS, width=COLUMNS, count=BANDS,
                           dtype=dtype, crs="EPSG:32616", transform=transform, nodata=213, **options) as f:
            f.write(image.transpose(2, 0, 1))
            f.update_tags(sensor="AVIRIS & friends")
            for k, wavelength in enumerate(WAVELENGTHS, 1):
                f.set_band_description(k, f"band {k - 1} <a & b>")
                f.update_tags(k, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=f"{wavelength / 1000}", FWHM_UM="0.01")
    for name, dtype, options in [
        ("tifffile_big_endian", ">u2", dict(byteorder=">", predictor=2, compression="zlib", planarconfig="contig")),
        ("tifffile_big_endian_float", ">f4", dict(byteorder=">", predictor=3, compression="zlib", planarconfig="contig")),
        ("tifffile_half", "<f2", dict(predictor=3, compression="lzw", planarconfig="separate")),
        ("tifffile_bigtiff_big_endian", ">i8", dict(byteorder=">", bigtiff=True, planarconfig="separate")),
        ("tifffile_pages", "<u4", dict()),
    ]:
        separate = options.get("planarconfig") != "contig"
        image = CUBE.astype(dtype)
        tifffile.imwrite(FOLDER / f"{name}.tif", image.transpose(2, 0, 1) if separate else image, rowsperstrip=2,
                         photometric="minisblack", metadata=None, **options)


def npz():
    everything = {"cube": CUBE, "wavelengths": np.array(WAVELENGTHS), "psf": PSF, "label": np.array(["a text"])}
    np.savez(FOLDER / "stored.npz", **everything)
    np.savez_compressed(FOLDER / "deflated.npz", first=CUBE.astype(">i4"), second=np.asfortranarray(CUBE + 1))


def hdf5():
    with h5py.File(FOLDER / "groups.h5", "w") as f:
        group = f.create_group("scene/level")
        group.create_dataset("cube", data=CUBE, chunks=(2, 2, 3), compression="gzip", shuffle=True)
        group["wavelengths"] = WAVELENGTHS
        f.create_group("other")["cube"] = CUBE + 1
        f["view"] = h5py.SoftLink("/scene")
        f["scene/hard"] = f["/"]
        f["note"] = "a text"


def prisma():
    """A product in the layout of PRISMA's L2D, four VNIR and three SWIR bands of 3 x 4 pixels; not one of the agency's.

    As the agency's: rows x bands x columns, wavelengths descending, 0 for bands that are absent, detectors that overlap.
    Sample: 1000 at least, + 100 row + 10 column, + 1000 times the place among ascending wavelengths that are kept.
    """
    centres = {"Vnir": [0.0, 970.0, 930.0, 450.0], "Swir": [2000.0, 1000.0, 950.0, 0.0]}
    place = {930.0: 1, 450.0: 0, 2000.0: 4, 1000.0: 3, 950.0: 2}
    r, c = np.ogrid[:ROWS, :COLUMNS]
    with h5py.File(FOLDER / "prisma_l2d.he5", "w") as f:
        fields = f.create_group("HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields")
        for name, list_cw in centres.items():
            cube = np.zeros((ROWS, len(list_cw), COLUMNS), np.uint16)
            errors = np.zeros(cube.shape, np.uint8)
            for band, centre in enumerate(list_cw):
                if centre > 0:
                    cube[:, band, :] = 1000 + 1000 * place.get(centre, 9) + 100 * r + 10 * c
                if centre == 2000.0:
                    errors[:2, band, :] = 1
            cube[0, :, 0] = 0  # outside the swath
            fields.create_dataset(f"{name.upper()}_Cube", data=cube, chunks=(1,) + cube.shape[1:], compression="gzip")
            fields[f"{name.upper()}_PIXEL_L2_ERR_MATRIX"] = errors
            f.attrs[f"List_Cw_{name}"] = np.array(list_cw, np.float32)
            f.attrs[f"List_Fwhm_{name}"] = np.array([w / 100 for w in list_cw], np.float32)
            f.attrs[f"List_Cw_{name}_Flags"] = np.array([w > 0 for w in list_cw], np.uint8)
            f.attrs[f"L2Scale{name}Min"] = np.float32(0.0)
            f.attrs[f"L2Scale{name}Max"] = np.float32(0.65535)
        # The middles of the outer pixels: 30 m in the cubes; of the panchromatic image the outer corners would fit as well as they do.
        f.attrs["Epsg_Code"] = np.uint32(32633)
        west, north = 500000.0, 4600000.0
        east, south = west + 30 * (COLUMNS - 1), north - 30 * (ROWS - 1)
        for corner, x, y in [("UL", west, north), ("UR", east, north), ("LL", west, south), ("LR", east, south)]:
            f.attrs[f"Product_{corner}corner_easting"] = np.float32(x)
            f.attrs[f"Product_{corner}corner_northing"] = np.float32(y)
        pan = (1000 + 100 * np.arange(12)[:, None] + np.arange(18)).astype(np.uint16)
        pan[0, :2] = 0
        f["HDFEOS/SWATHS/PRS_L2D_PCO/Data Fields/Cube"] = pan
        f.attrs["L2ScalePanMin"], f.attrs["L2ScalePanMax"] = np.float32(0.0), np.float32(0.65535)


def tiff_whole():
    """TIFFs whose chunks are decoded whole: LERC in its three dresses, JPEG of bands and of colours."""
    def write(name, image, **options):
        bands, rows, columns = image.shape
        with rasterio.open(FOLDER / name, "w", driver="GTiff", height=rows, width=columns, count=bands, dtype=image.dtype, **options) as f:
            f.write(image)

    cube = CUBE.transpose(2, 0, 1)
    write("lerc.tif", cube, compress="LERC", blockysize=2)
    hole = cube.astype("f4")
    hole[:, 1, 2] = np.nan
    write("lerc_deflate.tif", hole, compress="LERC_DEFLATE", interleave="band")
    write("lerc_zstd.tif", cube.astype("i4"), compress="LERC_ZSTD", tiled=True, blockxsize=16, blockysize=16, endianness="big")
    # Smooth, so that a sample changes by little.
    rows, columns = np.ogrid[:40, :40]
    colours = np.stack([2 * rows + 3 * columns, 200 - 3 * rows + 0 * columns, 100 + 0 * rows + columns]).astype("u1")
    tiles = dict(compress="JPEG", tiled=True, blockxsize=16, blockysize=16, jpeg_quality=95)
    write("jpeg_colours.tif", colours, photometric="YCBCR", **tiles)
    write("jpeg_pixels.tif", colours, photometric="RGB", **tiles)
    write("jpeg_bands.tif", colours, photometric="MINISBLACK", interleave="band", compress="JPEG", blockysize=8, jpeg_quality=95)


def jpeg2000():
    """A cube with a place, one of signed numbers, and a made-up Sentinel-2 product whose elements are called as ESA's are."""
    place = dict(crs="EPSG:32633", transform=rasterio.Affine(10.0, 0.0, 500000.0, 0.0, -10.0, 5200000.0))

    def write(path, image, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        bands, rows, columns = image.shape
        with rasterio.open(path, "w", driver="JP2OpenJPEG", height=rows, width=columns, count=bands, dtype=image.dtype,
                           QUALITY=100, REVERSIBLE="YES", **{**place, **options}) as f:
            f.write(image)

    write(FOLDER / "cube.jp2", CUBE.transpose(2, 0, 1))
    write(FOLDER / "signed.jp2", CUBE.transpose(2, 0, 1)[:1].astype("i2") - 200)
    # Sentinel-2 places its images by GML alone.
    product = FOLDER / "S2X_MSIL2A.SAFE"
    images = product / "GRANULE/L2A_T33/IMG_DATA"
    rows, columns = np.ogrid[:8, :8]
    fine = (1000 + 100 * rows + columns).astype("u2")
    fine[0, 0], fine[7, 7] = 0, 65535
    coarse = dict(transform=rasterio.Affine(20.0, 0.0, 500000.0, 0.0, -20.0, 5200000.0))
    classes = np.full((4, 4), 4, "u1")
    classes[1, 2] = 9
    for name, image, options in [
        ("R10m/T33_B02_10m", fine, {}), ("R10m/T33_B08_10m", fine + np.uint16(1) * (fine < 60000), {}),
        ("R20m/T33_B02_20m", fine[:4, :4], coarse), ("R20m/T33_B8A_20m", fine[2:6, 2:6], coarse), ("R20m/T33_SCL_20m", classes, coarse),
    ]:
        write(images / f"{name}.jp2", image[None], GeoJP2="NO", **options)
    files = sorted(images.glob("*/*.jp2"))
    listed = "".join(f"<IMAGE_FILE>{file.relative_to(product).with_suffix('')}</IMAGE_FILE>" for file in files)
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{band}">-1000</BOA_ADD_OFFSET>' for band in range(13))
    centres = "".join(
        f'<Spectral_Information bandId="{band}" physicalBand="{name}"><Wavelength><CENTRAL unit="nm">{centre}</CENTRAL></Wavelength></Spectral_Information>'
        for band, name, centre in [(1, "B2", 492.4), (7, "B8", 832.8), (8, "B8A", 864.7)])
    (product / "MTD_MSIL2A.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?><n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd">'
        f"<n1:General_Info><Product_Organisation><Granule_List><Granule>{listed}</Granule></Granule_List></Product_Organisation>"
        '<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>'
        f"<BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST><Spectral_Information_List>{centres}</Spectral_Information_List>"
        "</n1:General_Info></n1:Level-2A_User_Product>")


def png_folder():
    """Five bands in the manner of CAVE, whose order by the alphabet is another, a picture and a text beside them."""
    folder = FOLDER / "bands_ms"
    folder.mkdir(exist_ok=True)
    for band in range(BANDS):
        # 8, 9, 10, 11, 12: by the alphabet 10 would come first.
        Image.fromarray(CUBE[:, :, band].astype(np.uint16)).save(folder / f"scene_ms_{band + 8}.png")
    Image.fromarray(CUBE[:, :, :3].astype(np.uint8)).save(folder / "scene_RGB.png")
    (folder / "readme.txt").write_text("not a band\n")


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    npy()
    mat5()
    mat5_by_hand()
    mat73()
    envi()
    tiff()
    npz()
    hdf5()
    prisma()
    png_folder()
    netcdf()
    zarr()
    tiff_masks()
    tiff_whole()
    jpeg2000()
