#!/usr/bin/env python3
"""Prints the licences of the packages that are linked into the server, with their texts.

    tools/third-party.py >THIRD-PARTY-LICENCES

The texts are in the packages as cargo unpacked them. A package without one is an error, unless
another package of the same repository has it.
"""

import json
import pathlib
import subprocess
import sys

NAMES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")


def linked(metadata):
    """Returns the packages that the server's binary is linked from, without this workspace's."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [id for id, package in packages.items() if package["name"] == "tidegate"]
    found = set(waiting)
    while waiting:
        for dep in nodes[waiting.pop()]["deps"]:
            is_linked = any(kind["kind"] is None for kind in dep["dep_kinds"])
            is_macro = any("proc-macro" in target["kind"] for target in packages[dep["pkg"]]["targets"])
            if is_linked and not is_macro and dep["pkg"] not in found:
                found.add(dep["pkg"])
                waiting.append(dep["pkg"])
    members = set(metadata["workspace_members"])
    return sorted((packages[id] for id in found - members), key=lambda package: package["name"])


def texts(package):
    """Returns the licence files at the top of a package."""
    root = pathlib.Path(package["manifest_path"]).parent
    return sorted(path for path in root.iterdir() if path.is_file() and path.name.upper().startswith(NAMES))


def main():
    host = next(line.split()[1] for line in subprocess.check_output(["rustc", "-vV"], text=True).splitlines() if line.startswith("host:"))
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--offline", f"--filter-platform={host}"]
    packages = linked(json.loads(subprocess.check_output(command)))
    by_repository = {package["repository"]: texts(package) for package in packages if texts(package)}
    missing = []
    of_text = {}
    for package in packages:
        name = f"{package['name']} {package['version']}"
        print(f"{name}: {package['license']}, {package['repository']}")
        files = texts(package) or by_repository.get(package["repository"], [])
        if not files:
            missing.append(name)
        for path in files:
            of_text.setdefault(path.read_text(errors="replace").strip(), []).append(name)
    for text, names in of_text.items():
        print(f"\n{'=' * 80}\n{', '.join(names)}\n\n{text}")
    if missing:
        sys.exit(f"no licence text in: {', '.join(missing)}")


main()
