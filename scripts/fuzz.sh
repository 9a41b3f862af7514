#!/usr/bin/env bash
# Runs every fuzz target for so many executions, from the fixtures of the tests on, and says how many there were.
#   scripts/fuzz.sh 1000000            # needs cargo-fuzz (cargo install cargo-fuzz); stable Rust will do
# What is found is kept in fuzz/corpus and, where it crashes, in fuzz/artifacts.
set -euo pipefail
runs=$1
cd "$(dirname "$0")/.."
fixtures=tests/fixtures
seeds() { # target, files
  mkdir -p "fuzz/corpus/$1"
  for file in "${@:2}"; do
    [ -f "$file" ] && cp "$file" "fuzz/corpus/$1/"
  done
}
shopt -s nullglob
seeds npy $fixtures/*.npy
seeds npz $fixtures/*.npz
seeds mat $fixtures/*.mat
seeds hdf5 $fixtures/*.h5 $fixtures/*.nc $fixtures/*.he5 $fixtures/v73.mat
seeds tiff $fixtures/*.tif $fixtures/*/*.tif
seeds jp2 $fixtures/*.jp2 $fixtures/*.SAFE/GRANULE/*/IMG_DATA/*/*.jp2
seeds png $fixtures/*.png assets/*.png
seeds text assets/srf/*.csv assets/psf/*.csv
seeds config assets/presets/*.toml
mkdir -p fuzz/corpus/envi fuzz/corpus/manifest fuzz/corpus/model fuzz/corpus/beside fuzz/corpus/vrt
mkdir -p fuzz/corpus/zarr
for store in "$fixtures"/*.zarr/refl; do
  for mark in .zarray zarr.json; do
    for chunk in 0.0.0 c/0/0/0; do
      if [ -f "$store/$mark" ] && [ -f "$store/$chunk" ]; then
        { cat "$store/$mark" && printf '\0' && cat "$store/$chunk"; } >"fuzz/corpus/zarr/${mark#.}"
      fi
    done
  done
done
printf '\0' | cat - $fixtures/mask_beside.tif.msk >fuzz/corpus/beside/mask
printf '<VRTDataset rasterXSize="4" rasterYSize="3"><GeoTransform>1,2,0,3,0,-2</GeoTransform><VRTRasterBand dataType="UInt16" band="1">%s</VRTRasterBand></VRTDataset>' \
  '<NoDataValue>7</NoDataValue><ComplexSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand><SrcRect xOff="0" yOff="1" xSize="2" ySize="2"/><DstRect xOff="1" yOff="0" xSize="2" ySize="2"/><NODATA>3</NODATA></ComplexSource>' \
  >fuzz/corpus/vrt/one
printf '<PAMDataset><SRS>EPSG:32633</SRS><GeoTransform>1,2,0,3,0,-2</GeoTransform><PAMRasterBand band="1"><NoDataValue>7</NoDataValue>%s</PAMRasterBand></PAMDataset>' \
  '<Description>a</Description><Scale>2</Scale><Metadata><MDI key="wavelength">500</MDI></Metadata>' >fuzz/corpus/beside/xml
for header in "$fixtures"/*.hdr; do
  data=${header%.hdr}
  { cat "$header" && printf '\0' && cat "$data" "$data.img" 2>/dev/null; } >"fuzz/corpus/envi/$(basename "$header")" || true
done
printf 'a.npy,b.npy\n# two\nc.npy,d.npy,name=x\n' >fuzz/corpus/manifest/pairs
printf 'a.npy,nikon-d700\nb.npy,msi:c.npy\n' >fuzz/corpus/manifest/references

total=0
crashed=0
for target in $(cargo fuzz list); do
  log=$(mktemp)
  # Memory is bounded by a factor of the file (docs/RELIABILITY.md), and files by 64 KiB: 512 MiB is far more than any needs.
  if cargo fuzz run -s none "$target" -- -runs="$runs" -max_len=65536 -rss_limit_mb=512 -timeout=20 -print_final_stats=1 \
    >"$log" 2>&1; then verdict=clean; else
    verdict=CRASHED
    crashed=$((crashed + 1))
  fi
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  corpus=$(find "fuzz/corpus/$target" -type f | wc -l)
  echo "$target: ${executed:-0} executions, corpus $corpus, $verdict"
  [ $verdict = clean ] || tail -n 20 "$log"
  total=$((total + ${executed:-0}))
  rm -f "$log"
done
echo "$total executions in all, $crashed targets crashed"
[ $crashed = 0 ]
