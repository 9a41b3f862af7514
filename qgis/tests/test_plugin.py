"""The plugin: its part that runs the program, and with qgis_process on this machine (Debian's package qgis) all of it.

The program is what HSR_GPU names, or the one of the wheel.
"""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "qgis" / "hsr_gpu"))
import program  # noqa: E402

rasterio = pytest.importorskip("rasterio")
SCALE = 4
# Debian's qgis_process of 3.22 is a script that adds an option which the program refuses.
QGIS = shutil.which("qgis_process.bin") or shutil.which("qgis_process")


def write(path, image, pixel):
    """A GeoTIFF of rows x columns x bands with square pixels of this size."""
    transform = rasterio.transform.from_origin(400_000, 5_000_000, pixel, pixel)
    rows, columns, bands = image.shape
    shape = {"height": rows, "width": columns, "count": bands}
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", crs="EPSG:32632", transform=transform, **shape
    ) as file:
        file.write(image.transpose(2, 0, 1).astype(np.float32))


@pytest.fixture()
def pair(tmp_path):
    row, column, band = np.meshgrid(np.arange(64), np.arange(64), np.arange(12), indexing="ij")
    truth = 1 + 0.4 * np.sin(0.31 * row + 0.2 * band) * np.cos(0.27 * column) + 0.2 * np.cos(row * column / 90 - band)
    blocks = truth.reshape(16, SCALE, 16, SCALE, 12).mean(axis=(1, 3))
    write(tmp_path / "lr.tif", blocks, 40)
    write(tmp_path / "hr.tif", truth.reshape(64, 64, 3, 4).mean(axis=3), 10)
    return tmp_path


def test_the_program_runs_with_progress(pair):
    stages = []
    options = ["--hsi", pair / "lr.tif", "--msi", pair / "hr.tif", "--out", pair / "z.tif", "--steps", "50", "--backend", "cpu"]
    report = program.run(["fuse", *map(str, options)], lambda *event: stages.append(event))
    assert report["size"] == {"rows": 64, "columns": 64, "bands": 12} and (pair / "z.tif").is_file()
    assert {"estimate", "train"} <= {stage for stage, _ in stages}
    assert all(0 <= share <= 1 for _, share in stages)


def test_its_own_line_is_the_error(pair):
    with pytest.raises(program.ProgramError, match="nowhere.tif"):
        program.run(["estimate", "--hsi", "nowhere.tif", "--msi", str(pair / "hr.tif")])


def test_cancel_stops_it_and_leaves_nothing(pair):
    options = ["--hsi", pair / "lr.tif", "--msi", pair / "hr.tif", "--out", pair / "z.tif", "--steps", "1000000", "--backend", "cpu"]
    stages = []
    done = program.run(
        ["fuse", *map(str, options)], lambda *event: stages.append(event), cancelled=lambda: bool(stages)
    )
    assert done is None and not (pair / "z.tif").exists()


def test_the_package_is_a_plugin(tmp_path):
    subprocess.run([ROOT / "scripts" / "qgis_plugin.sh", tmp_path], check=True)
    names = zipfile.ZipFile(tmp_path / "hsr_gpu.zip").namelist()
    assert {"hsr_gpu/__init__.py", "hsr_gpu/metadata.txt", "hsr_gpu/LICENSE"} <= set(names)
    assert not any("__pycache__" in name for name in names)


@pytest.mark.skipif(QGIS is None, reason="no qgis_process")
def test_qgis_fuses_and_aligns(pair):
    plugins = pair / "plugins"
    plugins.mkdir()
    shutil.copytree(ROOT / "qgis" / "hsr_gpu", plugins / "hsr_gpu")
    home = pair / "home"
    home.mkdir(mode=0o700)
    environment = {
        "HOME": str(home),
        "HSR_GPU": program.find(),
        "PATH": "/usr/bin:/bin",
        "QGIS_PLUGINPATH": str(plugins),
        "QT_QPA_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(home),
    }

    def qgis(*words):
        done = subprocess.run([QGIS, *map(str, words)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    qgis("plugins", "enable", "hsr_gpu")
    assert "hsr_gpu:fuse" in qgis("list")
    images = [f"--HSI={pair / 'lr.tif'}", f"--MSI={pair / 'hr.tif'}"]
    text = qgis("run", "hsr_gpu:fuse", *images, "--STEPS=50", "--BACKEND=2", f"--OUTPUT={pair / 'z.tif'}")
    assert "verdict: " in text
    qgis("run", "hsr_gpu:align", *images, f"--OUTPUT={pair / 'a.tif'}")
    qgis("run", "hsr_gpu:estimate", *images, f"--OUTPUT={pair / 'sensors'}")
    for name, bands in (("z.tif", 12), ("a.tif", 3)):
        with rasterio.open(pair / name) as file:
            assert (file.width, file.height, file.count) == (64, 64, bands)
            assert file.crs.to_epsg() == 32632 and file.transform.a == 10
    assert (pair / "sensors" / "srf.npy").is_file()
    facts = json.loads(subprocess.run([program.find(), "info", str(pair / "z.tif"), "--json"], check=True, capture_output=True).stdout)
    assert facts["bands"] == 12
