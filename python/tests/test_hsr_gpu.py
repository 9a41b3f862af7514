"""The module as its users call it. Tiny scenes and few steps: what is tested is the way in and out, not quality."""

import doctest
import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import hsr_gpu
from hsr_gpu.adapters.hyperbench import block_psf, run_pipeline

FEW = {"steps": 20, "finetune": {"steps": 0}, "members": 2}
SCALE = 4
# Scenes of 8 x 8 LR pixels are too small for a verdict.
pytestmark = pytest.mark.filterwarnings("ignore:hsr_gpu. the verdict")


def program():
    """The program that the wheel brought."""
    return Path(sysconfig.get_path("scripts")) / ("hsr-gpu.exe" if os.name == "nt" else "hsr-gpu")


def scene(side=32, bands=12):
    r, c, b = np.meshgrid(np.arange(side), np.arange(side), np.arange(bands), indexing="ij")
    return (
        1 + 0.4 * np.sin(0.31 * r + 0.2 * b) * np.cos(0.27 * c) + 0.3 * np.cos(0.11 * r * c / side - 0.4 * b)
    ).astype(np.float32)


@pytest.fixture(scope="module")
def pair():
    truth = scene()
    psf = np.full((SCALE, SCALE), 1 / SCALE**2)
    srf = np.zeros((12, 3))
    for j in range(3):
        srf[4 * j : 4 * j + 4, j] = 0.25
    hsi, msi, seen = hsr_gpu.simulate(truth, psf, srf, SCALE)
    assert np.array_equal(seen, truth)
    return truth, hsi, msi, psf, srf


def fuse(hsi, msi, **options):
    return hsr_gpu.fuse(hsi, msi, **{"backend": "cpu", "progress": False, **FEW, **options})


def test_simulate_is_the_observation_model(pair):
    truth, hsi, msi, _, srf = pair
    blocks = truth.reshape(8, SCALE, 8, SCALE, 12).mean(axis=(1, 3))
    np.testing.assert_allclose(hsi, blocks, rtol=1e-5)
    np.testing.assert_allclose(msi, truth @ srf, rtol=1e-5)


def test_arrays_in_and_out_with_the_same_bits(pair):
    truth, hsi, msi, _, _ = pair
    a, b = fuse(hsi, msi, seed=3), fuse(hsi.astype(np.float64), msi, seed=3)
    assert a.image.shape == truth.shape and a.image.dtype == np.float32
    assert np.array_equal(a.image, b.image)
    assert not np.array_equal(a.image, fuse(hsi, msi, seed=4).image)
    assert abs(a.psf.sum() - 1) < 1e-6 and a.srf.shape == (12, 3)
    assert a.metrics(truth)["psnr_db"] > 20
    assert a.history and "12" in repr(a) and "<img" in a._repr_html_()


def test_the_program_of_the_wheel_makes_the_same_bits(pair, tmp_path):
    _, hsi, msi, _, _ = pair
    np.save(tmp_path / "x.npy", hsi)
    np.save(tmp_path / "y.npy", msi)
    arguments = "fuse --hsi x.npy --msi y.npy --out z.npy --seed 5 --steps 20 --finetune-steps 0 --members 2 --backend cpu --json"
    done = subprocess.run([program(), *arguments.split()], cwd=tmp_path, check=True, capture_output=True, text=True)
    fused = fuse(hsi, msi, seed=5)
    assert np.array_equal(np.load(tmp_path / "z.npy"), fused.image)
    told = json.loads(done.stdout)
    for key in ("placement", "degradation", "verdict", "mixture"):
        assert told[key] == fused.report[key]


def test_align_and_the_grid_of_the_hsi(pair):
    _, hsi, msi, _, _ = pair
    found = hsr_gpu.align(hsi, np.roll(msi, 1, axis=1), align="off")
    assert found.image.shape == msi.shape and found.alignment["scale"] == SCALE
    fused = fuse(hsi, msi, grid="hsi", align="off", scale=SCALE)
    assert fused.alignment["grid"] == "hsi" and fused.alignment["found"] is None


def test_a_verdict_that_is_not_good_is_a_warning(pair):
    _, hsi, msi, _, _ = pair
    other = np.random.default_rng(0).random(msi.shape, dtype=np.float32)
    with pytest.warns(UserWarning, match="the verdict is not the same scene: "):
        fused = fuse(hsi, other)
    assert not fused.verdict.good and fused.verdict.word == "not_the_same_scene" and fused.verdict.why
    assert fuse(hsi, msi).verdict.good


def test_what_is_known_is_used(pair):
    _, hsi, msi, psf, srf = pair
    told = fuse(hsi, msi, psf=psf, srf=srf, std=True)
    assert told.report["degradation"]["psf"] == told.report["degradation"]["srf"] == "given"
    np.testing.assert_allclose(told.srf, srf, atol=1e-6)
    assert told.std.shape == told.image.shape and (told.std >= 0).all()


def test_estimate(pair):
    _, hsi, msi, _, srf = pair
    found = hsr_gpu.estimate(hsi, msi)
    assert abs(found.psf.sum() - 1) < 1e-6 and found.srf.shape == srf.shape
    assert found.report["misfit"]["after"] < 0.05


def test_train_finetune_and_infer_are_those_of_the_program(pair, tmp_path):
    truth, hsi, msi, _, _ = pair
    scenes = [(hsi, msi), (hsi[::-1].copy(), msi[::-1].copy())]
    model, tuned = tmp_path / "model.safetensors", tmp_path / "tuned.safetensors"
    told = hsr_gpu.train(scenes, model, steps=20, members=2, backend="cpu", progress=False, preset="single-scene")
    assert told["epochs"]
    assert hsr_gpu.finetune(model, hsi, msi, tuned, steps=5, backend="cpu", progress=False)["epochs"]
    image = hsr_gpu.infer(tuned, msi, backend="cpu")
    assert image.shape == truth.shape
    for name, array in (("x", hsi), ("y", msi), ("x2", scenes[1][0]), ("y2", scenes[1][1])):
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "scenes.txt").write_text("x.npy,y.npy\nx2.npy,y2.npy\n")
    for line in (
        "train --scenes scenes.txt --out m.safetensors --steps 20 --members 2 --preset single-scene --backend cpu",
        "finetune x.npy y.npy --model m.safetensors --out t.safetensors --steps 5 --backend cpu",
        "infer --model t.safetensors --msi y.npy --out z.npy --backend cpu",
    ):
        subprocess.run([program(), *line.split()], cwd=tmp_path, check=True, capture_output=True)
    assert np.array_equal(np.load(tmp_path / "z.npy"), image)
    with pytest.raises(ValueError, match="trained for 3 MSI bands"):
        hsr_gpu.infer(tuned, msi[:, :, :2], backend="cpu")


def test_known_ones_from_files(pair, tmp_path):
    _, hsi, msi, psf, srf = pair
    np.save(tmp_path / "psf.npy", psf)
    np.save(tmp_path / "srf.npy", srf)
    found = hsr_gpu.estimate(hsi, msi, psf=tmp_path / "psf.npy", srf=str(tmp_path / "srf.npy"))
    np.testing.assert_allclose(found.srf, srf, atol=1e-6)
    assert found.report["psf"] == found.report["srf"] == "given"


def test_masks_and_nodata(pair):
    _, hsi, msi, _, _ = pair
    mask = np.ones(msi.shape[:2], dtype=bool)
    mask[3, 5] = False
    fused = fuse(hsi, msi, mask=mask)
    assert np.isnan(fused.image[3, 5]).all() and np.isfinite(fused.image[mask]).all()
    hidden = np.ma.masked_array(msi, np.broadcast_to(~mask[..., None], msi.shape))
    assert np.array_equal(fuse(hsi, hidden).image, fused.image, equal_nan=True)
    marked = msi.copy()
    marked[3, 5] = -9999
    assert fuse(hsi, marked, nodata=-9999).report["masked_pixels"] == 1


def test_files(pair, tmp_path):
    _, hsi, msi, _, _ = pair
    np.save(tmp_path / "x.npy", hsi)
    np.save(tmp_path / "y.npy", msi)
    fused = fuse(tmp_path / "x.npy", str(tmp_path / "y.npy"))
    fused.write(tmp_path / "z.npy")
    assert np.array_equal(np.load(tmp_path / "z.npy"), fused.image)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"msi": np.zeros((31, 32, 3), np.float32) + 1}, "ratio"),
        ({"hsi": np.zeros((8, 8), dtype="U3")}, "numbers"),
        ({"hsi": np.ones((2, 2, 2, 2))}, "rows x columns x bands"),
        ({"psf": "nonsense"}, "nonsense"),
        ({"psf": np.ones(3)}, "matrix"),
        ({"srf": np.ones((5, 3))}, "5"),
        ({"backend": "abacus"}, "abacus"),
        ({"grid": "hexagonal"}, "hexagonal"),
        ({"align": "by hand"}, "by hand"),
        ({"scale": 8}, "ratio of 8"),
        ({"training": {"step": 3}}, "step"),
        ({"wavelengths": [1.0, 2.0]}, "wavelengths"),
        ({"mask": np.ones((3, 3))}, "3 x 3"),
        ({"hsi": "missing.npy"}, "missing.npy"),
    ],
)
def test_bad_input_is_a_value_error_with_one_line(pair, change, text):
    _, hsi, msi, _, _ = pair
    arguments = {"hsi": hsi, "msi": msi, "backend": "cpu", "progress": False, **FEW, **change}
    with pytest.raises(ValueError, match=text) as error:
        hsr_gpu.fuse(**arguments)
    assert "\n" not in str(error.value)


def test_progress_and_what_it_raises(pair):
    _, hsi, msi, _, _ = pair
    seen = []
    fuse(hsi, msi, progress=lambda *event: seen.append(event))
    assert {"estimate", "train"} <= {stage for stage, _, _ in seen}

    def stop(*_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fuse(hsi, msi, progress=stop)


def test_two_threads_fuse_at_once(pair):
    _, hsi, msi, _, _ = pair
    alone, results = fuse(hsi, msi).image, [None, None]

    def work(k):
        results[k] = fuse(hsi, msi).image

    threads = [threading.Thread(target=work, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(alone, result) for result in results)


def test_an_interrupt_ends_the_work():
    program = (
        "import numpy as np, hsr_gpu\n"
        "r = np.random.default_rng(0)\n"
        "x, y = r.random((32, 32, 60), np.float32) + 1, r.random((256, 256, 4), np.float32) + 1\n"
        "print('begun', flush=True)\n"
        "try:\n"
        "    hsr_gpu.fuse(x, y, backend='cpu', progress=lambda *_: print('on', flush=True),"
        " training={'steps': 1000000})\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "begun\n" and child.stdout.readline() == "on\n"
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0 and out.endswith("stopped\n")


def test_hyperbench_pipeline(pair):
    truth, hsi, msi, _, srf = pair
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    assert block_psf(kernel, SCALE).shape == (6, 6)
    # A convolution turns its kernel round.
    assert np.array_equal(block_psf([[0, 0, 0], [0, 0, 1], [0, 0, 0]], 1), [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    settings = {"backend": "cpu", **FEW}
    plain = run_pipeline(msi, hsi, srf, None, {}, **settings)
    batch = run_pipeline(msi[None], hsi[None], srf.T, None, None, **settings)
    assert plain.shape == truth.shape and np.array_equal(batch[0], plain)


def test_xarray_keeps_coordinates_attributes_and_crs(pair, tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("rioxarray")
    _, hsi, msi, _, _ = pair
    wavelengths = np.linspace(0.4, 0.9, 12)
    x = xarray.DataArray(
        hsi.transpose(2, 0, 1),
        dims=("band", "y", "x"),
        coords={
            "wavelength": ("band", wavelengths, {"units": "um"}),
            "y": 5_000_000 - 40 * (np.arange(8) + 0.5),
            "x": 400_000 + 40 * (np.arange(8) + 0.5),
        },
        attrs={"title": "a scene"},
    ).rio.write_crs("EPSG:32632")
    y = xarray.DataArray(
        msi.transpose(2, 0, 1),
        dims=("band", "y", "x"),
        coords={"y": 5_000_000 - 10 * (np.arange(32) + 0.5), "x": 400_000 + 10 * (np.arange(32) + 0.5)},
    ).rio.write_crs("EPSG:32632")
    fused = fuse(x, y)
    z = fused.image
    assert z.dims == x.dims and z.shape == (12, 32, 32) and z.attrs["title"] == "a scene"
    assert np.array_equal(z.x.values, y.x.values) and np.array_equal(z.y.values, y.y.values)
    assert np.array_equal(z.wavelength.values, wavelengths) and z.rio.crs.to_epsg() == 32632
    np.testing.assert_allclose(fused.wavelengths, 1000 * wavelengths)
    rasterio = pytest.importorskip("rasterio")
    fused.write(tmp_path / "z.tif")
    with rasterio.open(tmp_path / "z.tif") as file:
        assert file.crs.to_epsg() == 32632 and file.transform.a == 10 and file.count == 12
        np.testing.assert_array_equal(file.read(1), z.values[0])


def test_calls_leak_nothing(pair):
    resource = pytest.importorskip("resource")
    _, hsi, msi, psf, srf = pair
    few = {"steps": 1, "members": 1}

    def many(count):
        for _ in range(count):
            fuse(hsi, msi, psf=psf, srf=srf, **few)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = many(20)
    # 100 results of 48 kB, and as much again for each copy on the way, would be over 10 MB.
    assert many(100) - before < 8_000


def test_examples_of_the_documentation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(hsr_gpu)
    assert result.attempted >= 4 and result.failed == 0
    page = Path(__file__).parents[2] / "docs" / "PYTHON.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 4 and result.failed == 0
