"""Holds our files against other programs: numpy, scipy, h5py, spectral, pillow, rasterio (with GDAL in it), rio-cogeo and tifffile
read what we write, we read what they write, and what zarr and xarray write. Needs those, imagecodecs and a built hsr-gpu.

Run: python scripts/check_formats.py target/debug/hsr-gpu
Prints one line a check; exit code 1 if any fails.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import rasterio
import rasterio.shutil
import rio_cogeo
import scipy.io
import spectral.io.envi as envi
from PIL import Image
import tifffile
import xarray
import zarr

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
    """7 x 6 x 5 samples over the whole range of integers, and of all the digits of floats."""
    if kind[0] == "f":
        return random.normal(size=(7, 6, 5)).astype(kind)
    info = np.iinfo(kind)
    return random.integers(info.min, info.max, size=(7, 6, 5), endpoint=True, dtype=kind)


UTM = dict(crs="EPSG:32633", transform=rasterio.Affine(30.0, 0.0, 500000.5, 0.0, -30.0, 5200000.25))


def tiff(folder, kind, a):
    """GeoTIFF both ways: the files of `folder` hold the image `a` of type `kind` as out.npy."""
    convert(folder / "out.npy", folder / "out.tif")
    check(f"ours {kind} -> tifffile", tifffile.imread(folder / "out.tif").transpose(1, 2, 0), a, kind)
    # GDAL reads halves as singles.
    with rasterio.open(folder / "out.tif") as f:
        check(f"ours {kind} -> rasterio", f.read().transpose(1, 2, 0), a, {"f2": "f4", "i1": "i1"}.get(kind, kind))

    predictors = [1] + [3 if kind[0] == "f" else 2] * (kind not in ["u8", "i8"])
    if kind != "f2":  # GDAL has no half precision to write
        for interleave in ["pixel", "band"]:
            for compress, predictor in [("none", 1)] + [(c, p) for c in ["deflate", "lzw"] for p in predictors]:
                for options in [dict(blockysize=3), dict(tiled=True, blockxsize=16, blockysize=16), dict(bigtiff="yes"),
                                dict(endianness="big")]:
                    if compress != "none":
                        options["predictor"] = predictor
                    with rasterio.open(folder / "in.tif", "w", driver="GTiff", height=7, width=6, count=5, dtype=a.dtype,
                                       interleave=interleave, compress=compress, **UTM, **options) as f:
                        f.write(a.transpose(2, 0, 1))
                    convert(folder / "in.tif", folder / "back.npy")
                    named = " ".join(f"{k}={v}" for k, v in options.items())
                    check(f"rasterio {kind} {interleave} {compress} {named} -> ours", np.load(folder / "back.npy"), a, kind)
    for planar in ["contig", "separate"]:
        for compression, predictor in [(None, 1)] + [(c, p) for c in ["zlib", "lzw"] for p in predictors]:
            for options in [dict(rowsperstrip=2), dict(tile=(16, 16)), dict(bigtiff=True), dict(byteorder=">")]:
                if options.get("byteorder") and predictor == 2 and compression:
                    continue  # imagecodecs takes differences in the machine's order only
                image = a if planar == "contig" else a.transpose(2, 0, 1)
                if options.get("byteorder"):
                    image = image.astype(image.dtype.newbyteorder(">"))
                tifffile.imwrite(folder / "in.tif", image, photometric="minisblack", planarconfig=planar, metadata=None,
                                 compression=compression, predictor=predictor, **options)
                convert(folder / "in.tif", folder / "back.npy")
                check(f"tifffile {kind} {planar} {compression} {predictor} {options} -> ours",
                      np.load(folder / "back.npy"), a, kind)
    tifffile.imwrite(folder / "in.tif", a.transpose(2, 0, 1), photometric="minisblack")
    convert(folder / "in.tif", folder / "back.npy")
    check(f"tifffile {kind} pages -> ours", np.load(folder / "back.npy"), a, kind)


CREATION = [["COMPRESS=NONE"], ["COMPRESS=LZW"], ["COMPRESS=ZSTD"], ["COMPRESS=LZW", "PREDICTOR=NO", "BLOCKYSIZE=5"],
            ["TILED=YES"], ["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=32", "COMPRESS=ZSTD"], ["TILED=YES", "COMPRESS=LZW", "BIGTIFF=YES"],
            ["BIGTIFF=YES", "ZLEVEL=9"]]


def created(folder, kind, a):
    """GeoTIFF by creation options, and cloud-optimised, through GDAL, tifffile and rio-cogeo."""
    large = np.tile(a, (29, 31, 1))[:, :, :3]
    np.save(folder / "large.npy", large)
    for options in CREATION:
        convert(folder / "large.npy", folder / "co.tif", *[f"--co={option}" for option in options])
        with rasterio.open(folder / "co.tif") as f:
            check(f"ours {kind} {options} -> rasterio", f.read().transpose(1, 2, 0), large, {"f2": "f4"}.get(kind, kind))
            named = dict(option.split("=") for option in options)
            compress = f.profile.get("compress", "none").lower()
            check(f"compression of {kind} {options}", np.array(compress), np.array(named.get("COMPRESS", "DEFLATE").lower()))
            check(f"tiles of {kind} {options}", np.array(f.profile["tiled"]), np.array("TILED" in named))
        check(f"ours {kind} {options} -> tifffile", tifffile.imread(folder / "co.tif").transpose(1, 2, 0), large, kind)
    if kind == "f2":
        return
    for options in [["BLOCKSIZE=64"], ["BLOCKSIZE=32", "COMPRESS=ZSTD"], ["BLOCKSIZE=64", "COMPRESS=LZW", "BIGTIFF=YES"], ["COMPRESS=NONE"]]:
        convert(folder / "large.npy", folder / "cog.tif", "--co=COG=YES", *[f"--co={option}" for option in options])
        valid, errors, warnings = rio_cogeo.cog_validate(folder / "cog.tif", strict=True, quiet=True)
        check(f"rio cogeo validate {kind} {options} {errors} {warnings}", np.array(valid), np.array(True))
        with rasterio.open(folder / "cog.tif") as f:
            check(f"ours {kind} COG {options} -> rasterio", f.read().transpose(1, 2, 0), large, kind)
            factors = f.overviews(1)
        if options[0] == "BLOCKSIZE=64":
            check(f"overviews of {kind} {options}", np.array(factors), np.array([2, 4]))
            with rasterio.open(folder / "cog.tif", overview_level=0) as f:
                ours = f.read(1).astype("f8")[:101, :93]
            padded = large[:202, :186, 0].astype("f8")
            theirs = (padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]) / 4
            scale = max(1.0, np.abs(theirs).max())
            near = np.abs(ours - theirs).max() <= 0.5 * (kind[0] != "f") + 1e-6 * scale
            check(f"means of {kind} {options}", np.array(near), np.array(True))
        convert(folder / "cog.tif", folder / "back.npy")
        check(f"ours {kind} COG {options} -> ours", np.load(folder / "back.npy"), large, kind)


def tiff_whole(folder, kind, a):
    """TIFFs by GDAL whose strips and tiles are LERC (lossless) or JPEG (to three of 255: decoders interpolate colours differently)."""
    large = np.tile(a, (9, 11, 1))
    options = dict(driver="GTiff", height=63, width=66, count=5, dtype=a.dtype)
    if kind not in ["u8", "i8", "f2"]:
        for compress in ["LERC", "LERC_DEFLATE", "LERC_ZSTD"]:
            for more in [dict(interleave="pixel"), dict(interleave="band"), dict(tiled=True, blockxsize=32, blockysize=16), dict(blockysize=5)]:
                with rasterio.open(folder / "in.tif", "w", compress=compress, **options, **more) as f:
                    f.write(large.transpose(2, 0, 1))
                convert(folder / "in.tif", folder / "back.npy")
                check(f"rasterio {kind} {compress} {more} -> ours", np.load(folder / "back.npy"), large, kind)
    if kind == "u1":
        smooth = 120 + 50 * np.sin(np.arange(63)[:, None, None] / 9) + 50 * np.cos(np.arange(66)[None, :, None] / 7 + np.arange(4) / 3)
        smooth = smooth.astype("u1")
        for more in [dict(photometric="YCBCR"), dict(photometric="RGB"), dict(photometric="MINISBLACK", interleave="band"),
                     dict(photometric="MINISBLACK", interleave="pixel")]:
            bands = 3 if more["photometric"] in ["YCBCR", "RGB"] else 4
            for blocks in [dict(tiled=True, blockxsize=32, blockysize=16), dict(blockysize=16)]:
                with rasterio.open(folder / "in.tif", "w", compress="JPEG", **{**options, "count": bands}, **more, **blocks) as f:
                    f.write(smooth[..., :bands].transpose(2, 0, 1))
                convert(folder / "in.tif", folder / "back.npy")
                with rasterio.open(folder / "in.tif") as f:
                    theirs = f.read().transpose(1, 2, 0)
                ours = np.load(folder / "back.npy")
                near = ours.shape == theirs.shape and int(np.abs(ours.astype(int) - theirs).max()) <= 3
                check(f"rasterio JPEG {more} {blocks} -> ours", np.array(near), np.array(True))


def jpeg2000(folder, kind, a):
    """Lossless JPEG 2000 by GDAL, one tile and many."""
    if kind not in ["u1", "u2", "i2"]:
        return
    for options in [{}, dict(BLOCKXSIZE=64, BLOCKYSIZE=64), dict(RESOLUTIONS=1), dict(PROGRESSION="RPCL"), dict(GeoJP2="NO"), dict(CODEC="J2K")]:
        options = {"QUALITY": 100, "REVERSIBLE": "YES", "YCBCR420": "NO", **options}
        large = np.tile(a, (13, 17, 1))
        name = folder / ("in.j2k" if options.get("CODEC") else "in.jp2")
        with rasterio.open(name, "w", driver="JP2OpenJPEG", height=91, width=102, count=5, dtype=a.dtype, **UTM, **options) as f:
            f.write(large.transpose(2, 0, 1))
        convert(name, folder / "back.npy")
        check(f"rasterio JPEG 2000 {kind} {options} -> ours", np.load(folder / "back.npy"), large, kind)
        if "CODEC" not in options:
            convert(name, folder / "place.tif")
            with rasterio.open(folder / "place.tif") as f:
                check(f"place of JPEG 2000 {kind} {options}", np.array(f.transform), np.array(UTM["transform"]))
                check(f"system of JPEG 2000 {kind} {options}", np.array(f.crs.to_epsg()), np.array(32633))


def zarr_stores(folder, kind, a):
    """Zarr by its own program: versions, codecs, orders of axes, names of chunks, chunks that are not there."""
    large = np.tile(a, (6, 7, 3))
    chunks = (16, 20, 9)
    v2 = [None, numcodecs.Zlib(), numcodecs.GZip(), numcodecs.Zstd(), numcodecs.LZ4()]
    v2 += [numcodecs.Blosc(cname=c, shuffle=s, blocksize=b) for c in ["lz4", "lz4hc", "zlib", "zstd"] for s in [0, 1, 2] for b in [0, 2048]]
    for compressor in v2:
        for order, separator in [("C", "."), ("F", "/")]:
            store = zarr.create_array(folder / "v2.zarr", name="x", shape=large.shape, dtype=kind, chunks=chunks, zarr_format=2, order=order,
                                      compressors=compressor, overwrite=True, chunk_key_encoding=dict(name="v2", separator=separator))
            store[:] = large
            convert(folder / "v2.zarr", folder / "back.npy")
            check(f"zarr 2 {kind} {compressor} {order} {separator} -> ours", np.load(folder / "back.npy"), large, kind)
    blosc = [zarr.codecs.BloscCodec(cname=c, shuffle=s) for c in ["lz4", "zstd", "zlib"] for s in ["noshuffle", "shuffle", "bitshuffle"]]
    for compressor in [None, zarr.codecs.GzipCodec(), zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec(), *blosc]:
        for endian, more in [("little", {}), ("big", dict(filters=[zarr.codecs.TransposeCodec(order=(2, 0, 1))])),
                             ("little", dict(chunk_key_encoding=dict(name="v2", separator="."))),
                             ("little", dict(chunk_key_encoding=dict(name="default", separator=".")))]:
            store = zarr.create_array(folder / "v3.zarr", name="group/x", shape=large.shape, dtype=kind, chunks=chunks, zarr_format=3, overwrite=True,
                                      compressors=compressor, serializer=zarr.codecs.BytesCodec(endian=endian), **more)
            store[:] = large
            convert(f"{folder}/v3.zarr:/group/x", folder / "back.npy")
            check(f"zarr 3 {kind} {compressor} {endian} {more} -> ours", np.load(folder / "back.npy"), large, kind)
    for version in [2, 3]:
        store = zarr.create_array(folder / "part.zarr", name="x", shape=large.shape, dtype=kind, chunks=chunks, zarr_format=version, fill_value=3, overwrite=True)
        store[16:32, 20:40] = large[16:32, 20:40]
        convert(folder / "part.zarr" / "x", folder / "back.npy")
        check(f"zarr {version} {kind} with chunks that are not there -> ours", np.load(folder / "back.npy"), store[:], kind)


def zarr_scene(folder):
    """Scenes of xarray's in Zarr and in netCDF are one."""
    samples = np.arange(5 * 7 * 6, dtype="f8").reshape(5, 7, 6) / 7
    samples[0, 0, 0] = np.nan
    attributes = dict(grid_mapping="crs")
    scene = xarray.Dataset(
        {"refl": (("wavelength", "y", "x"), samples, attributes), "crs": ((), 0, dict(crs_wkt=rasterio.crs.CRS.from_epsg(32633).to_wkt()))},
        coords={"wavelength": ("wavelength", np.array([0.4, 0.5, 0.6, 0.7, 2.5]), dict(units="um")), "y": 9e5 - 30.0 * np.arange(7), "x": 5e5 + 30.0 * np.arange(6)})
    packed = dict(refl=dict(dtype="int16", scale_factor=0.01, add_offset=3.0, _FillValue=-9999))
    for encoding in [{}, packed, dict(refl=dict(_FillValue=-1.0))]:
        scene.to_netcdf(folder / "scene.nc", encoding=encoding)
        convert(folder / "scene.nc", folder / "nc.tif")
        for version in [2, 3]:
            scene.to_zarr(folder / "scene.zarr", mode="w", zarr_format=version, encoding=encoding)
            convert(folder / "scene.zarr", folder / "zarr.tif")
            with rasterio.open(folder / "nc.tif") as theirs, rasterio.open(folder / "zarr.tif") as ours:
                what = f"xarray in Zarr {version} and netCDF {sorted(encoding)}"
                check(what, ours.read(masked=True).filled(-7), theirs.read(masked=True).filled(-7))
                check(f"place of {what}", np.array([*ours.transform, ours.crs.to_epsg()]), np.array([*UTM["transform"][:2], 499985.0, 0, -30, 900015.0, 0, 0, 1, 32633]))
                check(f"bands of {what}", np.array([str(ours.tags(b, ns="IMAGERY")) for b in ours.indexes]), np.array([str(theirs.tags(b, ns="IMAGERY")) for b in ours.indexes]))
            with xarray.open_zarr(folder / "scene.zarr") as again, rasterio.open(folder / "zarr.tif") as ours:
                # A pixel without data in one band has none in all of ours.
                read = ours.read(masked=True).filled(np.nan).astype("f4")[:, 1:]
                check(f"xarray reads {what} as we do", read, again["refl"].values.astype("f4")[:, 1:])


def virtual(folder):
    """VRTs of GDAL's making, and mosaics and stacks in its words, through GDAL and through us."""
    names = []
    for number in range(3):
        name = folder / f"part{number}.tif"
        with rasterio.open(name, "w", driver="GTiff", height=7, width=6, count=2, dtype="uint16", nodata=9, **UTM) as f:
            f.write(random.integers(0, 20, size=(2, 7, 6)).astype("u2"))
        names.append(name.name)
    rasterio.shutil.copy(folder / names[0], folder / "copy.vrt", driver="VRT")

    def source(name, band, rectangles, kind="SimpleSource", more=""):
        places = "".join(f'<{n} xOff="{x}" yOff="{y}" xSize="{w}" ySize="{h}" />' for n, (y, x, h, w) in zip(["SrcRect", "DstRect"], rectangles))
        return (f'<{kind}><SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>{band}</SourceBand>{places}{more}</{kind}>')

    def image(name, rows, columns, bands):
        inside = "".join(f'<VRTRasterBand dataType="UInt16" band="{k + 1}"><NoDataValue>9</NoDataValue>{band}</VRTRasterBand>' for k, band in enumerate(bands))
        place = "<GeoTransform> 5.0e+05, 3.0e+01, 0, 5.2e+06, 0, -3.0e+01</GeoTransform><SRS>EPSG:32633</SRS>"
        (folder / name).write_text(f'<VRTDataset rasterXSize="{columns}" rasterYSize="{rows}">{place}{inside}</VRTDataset>')

    # Overlapping, with gaps, the later over the earlier where that is no data or not.
    mosaic = [
        source(names[0], band, [(0, 0, 7, 6), (0, 0, 7, 6)])
        + source(names[1], band, [(0, 0, 7, 6), (5, 4, 7, 6)], "ComplexSource", "<NODATA>9</NODATA>")
        + source(names[2], band, [(1, 2, 4, 3), (8, 0, 4, 3)])
        for band in (1, 2)
    ]
    image("mosaic.vrt", 12, 11, mosaic)
    image("stack.vrt", 7, 6, [source(name, band, [(0, 0, 7, 6), (0, 0, 7, 6)]) for name in names for band in (2, 1)])
    for name in ["copy.vrt", "mosaic.vrt", "stack.vrt"]:
        convert(folder / name, folder / "back.tif")
        with rasterio.open(folder / name) as theirs, rasterio.open(folder / "back.tif") as ours:
            # A pixel without data in one band has none.
            expected = np.where((theirs.read() == 9).any(axis=0), np.uint16(9), theirs.read())
            check(f"GDAL's {name} -> ours", ours.read(), expected, "u2")
            check(f"place of {name}", np.array(ours.transform), np.array(theirs.transform))
            check(f"no data of {name}", np.array(ours.nodata), np.array(theirs.nodata))


def coordinate_systems(folder):
    """Systems of the world by code, by text and by keys: what GDAL writes as ENVI and what it writes as GeoTIFF is one system."""
    codes = [25832, 2056, 3035, 3857, 27700, 2154, 31467, 5514, 28992, 26915, 3031, 2193, 4258, 3005, 5070, 6933, 3995, 3413, 2263]
    for code in codes:
        crs = rasterio.CRS.from_epsg(code)
        size, (x, y) = {4258: (3e-4, (11.0, 48.0)), 5514: (30.0, (-7e5, -1.05e6))}.get(code, (30.0, (1e6, 1e6)))
        for coarse, fine in [("c.img", "f.tif"), ("c.tif", "f.img")]:
            for name, pixels, step, bands in [(coarse, 8, size, 3), (fine, 32, size / 4, 2)]:
                driver = "ENVI" if name.endswith("img") else "GTiff"
                with rasterio.open(folder / name, "w", driver=driver, height=pixels, width=pixels, count=bands, dtype="uint16", crs=crs,
                                   transform=rasterio.transform.from_origin(x, y, step, step)) as f:
                    f.write(random.integers(1, 999, size=(bands, pixels, pixels)).astype("u2"))
            command = [PROGRAM, "--quiet", "align", "--hsi", folder / coarse, "--msi", folder / fine, "--out", folder / "o.npy", "--align", "off"]
            result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            with rasterio.open(folder / fine) as f:
                same = np.array_equal(np.load(folder / "o.npy").round(), f.read().transpose(1, 2, 0)) if result.returncode == 0 else False
            check(f"EPSG:{code} {coarse} on {fine} {result.stderr.strip()}", np.array(same), np.array(True))


def tiff_metadata(folder):
    """Grid, no-data value, wavelengths and names through GDAL, and from ENVI to GeoTIFF and back."""
    image = np.arange(7 * 6 * 3, dtype="u2").reshape(3, 7, 6)
    for name, options in [("area", {}), ("point", dict(AREA_OR_POINT="Point"))]:
        with rasterio.open(folder / "geo.tif", "w", driver="GTiff", height=7, width=6, count=3, dtype="uint16", nodata=5, **UTM) as f:
            f.write(image)
            f.update_tags(**options)
            for band in (1, 2, 3):
                f.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=str(0.4 + band / 10), FWHM_UM="0.01")
                f.set_band_description(band, f"band {band} & <co>")
        convert(folder / "geo.tif", folder / "geo2.tif")
        convert(folder / "geo2.tif", folder / "geo.img")
        convert(folder / "geo.img", folder / "geo3.tif")
        for step in ["geo2.tif", "geo.img", "geo3.tif"]:
            with rasterio.open(folder / step) as f:
                check(f"{name}: transform of {step} through rasterio", np.array(f.transform), np.array(UTM["transform"]))
                same = [f.crs.to_epsg() == 32633, f.nodata == 5]
                check(f"{name}: reference system and no-data of {step}", np.array(same), np.array([True, True]))
                tags = [f.tags(band, ns="IMAGERY") for band in f.indexes]
                found = [[float(t["CENTRAL_WAVELENGTH_UM"]), float(t["FWHM_UM"])] for t in tags]
                check(f"{name}: wavelengths of {step}", np.array(found), np.array([[0.5, 0.01], [0.6, 0.01], [0.7, 0.01]]))
                if step != "geo.img":
                    names = np.array([f"band {band} & <co>" for band in f.indexes])
                    check(f"{name}: names of {step}", np.array(f.descriptions), names)
                    check(f"{name}: AREA_OR_POINT of {step}", np.array(f.tags()["AREA_OR_POINT"]),
                          np.array("Point" if options and step == "geo2.tif" else "Area"))
    # A reference system that ENVI knows by its text alone.
    header = folder / "laea.hdr"
    text = rasterio.CRS.from_epsg(3035).to_wkt(version="WKT1_ESRI")
    envi.save_image(str(header), image.transpose(1, 2, 0), force=True, metadata={
        "map info": ["Lambert Azimuthal", 1.5, 1.5, 4321010, 3209990, 20, 20, "ETRS89", "units=Meters"],
    })
    header.write_text(header.read_text() + "coordinate system string = {" + text + "}\n")
    convert(header, folder / "laea.tif")
    with rasterio.open(folder / "laea.tif") as f:
        check("half-pixel ENVI reference through rasterio", np.array(f.transform)[:6],
              np.array([20, 0, 4321000, 0, -20, 3210000.0]))
        check("text of a reference system through rasterio", np.array(f.crs.to_epsg()), np.array(3035))


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

        for save in [np.savez, np.savez_compressed]:
            save(folder / "in.npz", x=a, v=np.arange(5.0), order=np.asfortranarray(a)[0])
            convert(f"{folder}/in.npz:x", folder / "back.npy")
            check(f"numpy {save.__name__} {kind} -> ours", np.load(folder / "back.npy"), a, kind)
        convert(folder / "out.npy", folder / "out.npz")
        check(f"ours {kind} -> numpy npz", np.load(folder / "out.npz")["cube"], a, kind)

        for options in [{}, dict(chunks=(2, 3, 4), compression="gzip", shuffle=True)]:
            with h5py.File(folder / "in.h5", "w") as f:
                f.create_dataset("scene/level/x", data=a, **options)
                f["other"] = a + np.ones((), kind)
            convert(f"{folder}/in.h5:/scene/level/x", folder / "back.npy")
            check(f"h5py {kind} by path {sorted(options)} -> ours", np.load(folder / "back.npy"), a, kind)

        if kind in ["u1", "u2"]:
            bands = folder / f"bands_{kind}"
            bands.mkdir()
            for band in range(5):
                Image.fromarray(a[:, :, band]).save(bands / f"scene_ms_{band + 8}.png")
            Image.fromarray(a[:, :, :3].astype("u1")).save(bands / "scene_RGB.bmp")
            convert(bands, folder / "back.npy")
            check(f"pillow folder of {kind} -> ours", np.load(folder / "back.npy"), a, kind)
            if kind == "u1":
                Image.fromarray(a[:, :, :3]).save(folder / "rgb.png")
                convert(folder / "rgb.png", folder / "back.npy")
                check("pillow RGB -> ours", np.load(folder / "back.npy"), a[:, :, :3], kind)

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

        tiff(folder, kind, a)
        created(folder, kind, a)
        tiff_whole(folder, kind, a)
        jpeg2000(folder, kind, a)
        zarr_stores(folder, kind, a)

    zarr_scene(folder)
    tiff_metadata(folder)
    coordinate_systems(folder)
    virtual(folder)
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
    # A header with the least that SPy writes by itself, its units unknown, and a data file of another ending.
    plain = image("u2")
    envi.save_image(str(folder / "least.hdr"), plain, metadata={"wavelength": wavelengths}, ext="raw", force=True)
    convert(folder / "least.hdr", folder / "least2.hdr")
    back2 = envi.open(folder / "least2.hdr", folder / "least2.img")
    check("SPy without units -> ours -> SPy", np.asarray(back2.open_memmap(interleave="bip")), plain, "u2")
    check("wavelengths without units", np.array(back2.bands.centers), np.array([1000 * w for w in wavelengths]).round(6))
    convert(folder / "meta.hdr", folder / "some.hdr", "--bands", "4,0-1")
    some = envi.open(folder / "some.hdr", folder / "some.img")
    check("chosen bands through SPy", np.array(some.bands.centers), np.array([2500.0, 400.0, 500.0]))

    for name in ["bbl", "band names", "map info"]:
        theirs = envi.open(folder / "meta.hdr").metadata[name]
        check(f"{name} through SPy", np.array(back.metadata[name]), np.array(theirs))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        main(Path(name))
    print(f"{failures} failed")
    sys.exit(failures > 0)
