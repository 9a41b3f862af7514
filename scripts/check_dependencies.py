#!/usr/bin/env python3
"""Holds licences and sources of all dependencies against deny.toml, and the advisories that stand there against Cargo.lock,
without a network.

The part of cargo-deny that needs no database: CI runs it everywhere, and cargo-deny itself where that is installed.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

root = Path(__file__).resolve().parent.parent
rules = tomllib.loads((root / "deny.toml").read_text())
allowed = set(rules["licenses"]["allow"])
registries = {"registry+" + url for url in rules["sources"]["allow-registry"]}
command = ["cargo", "metadata", "--format-version=1", "--locked", "--all-features"]
packages = json.loads(subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout)["packages"]


def permitted(expression):
    """Whether an SPDX expression is met: every AND part, one OR part."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression)

    def alternatives():
        met = sequence()
        while tokens and tokens[0] in ("OR", "/"):
            tokens.pop(0)
            met = sequence() or met
        return met

    def sequence():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one():
        name = tokens.pop(0)
        if name == "(":
            met = alternatives()
            tokens.pop(0)
            return met
        if tokens[:1] == ["WITH"]:
            name += " WITH " + tokens[1]
            del tokens[:2]
        return name in allowed

    return alternatives()


wrong = []
for package in packages:
    name = f"{package['name']} {package['version']}"
    if package["source"] is not None and package["source"] not in registries:
        wrong.append(f"{name}: from {package['source']}")
    if not package["license"]:
        wrong.append(f"{name}: names no licence")
    elif not permitted(package["license"]):
        wrong.append(f"{name}: {package['license']}")
known = {(package["name"], package["version"]) for package in packages}
for advisory in rules["advisories"]["ignore"]:
    crate = tuple(advisory["reason"].split(":")[0].split())
    if crate not in known:
        wrong.append(f"{advisory['id']}: {' '.join(crate)} is no dependency any more; take it out of deny.toml")
print("\n".join(wrong + [f"{len(packages)} packages, {len(wrong)} against deny.toml"]))
sys.exit(bool(wrong))
