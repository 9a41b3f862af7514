"""Writes assets/srf/{sentinel-2a,sentinel-2b,landsat-8,landsat-9}.toml from the PyPI package pyrsr 0.8.0 (Apache-2.0),
which carries the agencies' tables at 1 nm. The other files there are by hand.

Needs the source archive unpacked: pip download --no-deps --no-binary :all: pyrsr==0.8.0 && tar xzf pyrsr-0.8.0.tar.gz
Run from the root of the repository: python scripts/pack_responses.py pyrsr-0.8.0

Kept are, of every band, the samples from the first to the last of at least a thousandth of the peak, rounded to a
ten-thousandth of it.
"""

import sys
from pathlib import Path

DATA = Path(sys.argv[1]) / "pyrsr" / "data"
SENTINEL = ["1", "2", "3", "4", "5", "6", "7", "8", "8A", "9", "10", "11", "12"]
LANDSAT = ["1", "2", "3", "4", "5", "6", "7", "8", "9"]
ESA = "ESA, Sentinel-2 Spectral Response Functions, COPE-GSEG-EOPG-TN-15-0007 version 3.0, December 2017"
SENSORS = {
    "sentinel-2a": ("Sentinel-2A/MSI", "Sentinel-2A MSI", SENTINEL, ["10"], ESA),
    "sentinel-2b": ("Sentinel-2B/MSI", "Sentinel-2B MSI", SENTINEL, ["10"], ESA),
    "landsat-8": (
        "Landsat-8/OLI_TIRS", "Landsat 8 OLI", LANDSAT, ["8", "9"],
        "NASA/Ball Aerospace, Landsat 8 OLI band-average relative spectral response (Ball_BA_RSR) version 1.2, 2014",
    ),
    "landsat-9": (
        "Landsat-9/OLI_TIRS", "Landsat 9 OLI-2", LANDSAT, ["8", "9"],
        "NASA/Ball Aerospace, Landsat 9 OLI-2 band-average relative spectral response (L9_OLI2_Ball_BA_RSR) version 1.0, 2021",
    ),
}


def band(path):
    lines = path.read_text().splitlines()[1:]
    table = sorted((float(x), float(y)) for x, y in (line.split() for line in lines if line.strip()))
    wavelengths, values = zip(*table)
    if wavelengths[-1] < 100:  # micrometres
        wavelengths = [1000 * w for w in wavelengths]
    wavelengths = [round(w) for w in wavelengths]
    assert wavelengths == list(range(wavelengths[0], wavelengths[0] + len(wavelengths))), path
    peak = max(values)
    high = [i for i, v in enumerate(values) if v >= 1e-3 * peak]
    values = [max(0.0, round(v / peak, 4)) for v in values[high[0] : high[-1] + 1]]
    return wavelengths[high[0]], values


for name, (folder, title, bands, named_only, source) in SENSORS.items():
    text = f'title = "{title}"\nsource = "{source}; from pyrsr 0.8.0"\nkind = "measured"\n'
    for number in bands:
        first, values = band(DATA / folder / f"band_{number}")
        text += f'\n[[band]]\nname = "B{number}"\n'
        if number in named_only:
            text += "named_only = true\n"
        text += f"first = {first}\nstep = 1\nresponse = [\n"
        cells = [f"{v:.4f}".rstrip("0").rstrip(".") if v else "0" for v in values]
        for i in range(0, len(cells), 20):
            text += "  " + ", ".join(cells[i : i + 20]) + ",\n"
        text += "]\n"
    Path(f"assets/srf/{name}.toml").write_text(text)
