"""Tests of the setup: fast, and without a network.

    python3 -m unittest discover -s setup
"""

import collections
import contextlib
import errno
import hashlib
import io
import json
import os
import pickle
import pwd
import struct
import subprocess
import sys
import tempfile
import types
import unittest
import zipfile
from array import array
from pathlib import Path
from unittest import mock

import minilm
import onnx_graph
import pieces
import setup
import wheels
import wordpiece
from failure import SetupFailure
from weights import gather_strided, read_safetensors, read_torch_legacy

HERE = Path(__file__).parent


def decode(message):
    """The fields of a protobuf message: {number: [value]}; a nested message stays bytes."""
    fields, at = collections.defaultdict(list), 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            length = {2: varint, 5: lambda: 4}[key & 7]()
            value = message[at : at + length]
            at += length
        fields[key >> 3].append(value)
    return fields


class TemporaryFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class OnnxFiles(TemporaryFolder):
    def test_a_written_model_reads_back(self):
        g = onnx_graph.Graph("tiny")
        g.input("x", onnx_graph.FLOAT, ["batch", 2])
        weight = g.constant("w", array("f", [1.0, 2.0]), [1, 2])
        y = g.node("Gemm", ["x", weight], alpha=0.5, transB=1)
        g.node("Softmax", [y], output="y", axis=-1)
        g.output("y", onnx_graph.FLOAT, ["batch", 1])
        g.write(self.folder / "tiny.onnx")

        model = decode((self.folder / "tiny.onnx").read_bytes())
        self.assertEqual(model[1], [8])
        self.assertEqual([decode(opset)[2] for opset in model[8]], [[17]])
        graph = decode(model[7][0])
        gemm, softmax = map(decode, graph[1])
        self.assertEqual((gemm[1], gemm[4]), ([b"x", b"w"], [b"Gemm"]))
        self.assertEqual((softmax[1], softmax[2], softmax[4]), (gemm[2], [b"y"], [b"Softmax"]))
        alpha, transposed = map(decode, gemm[5])
        self.assertEqual((alpha[1], alpha[2], alpha[20]), ([b"alpha"], [struct.pack("<f", 0.5)], [1]))
        self.assertEqual((transposed[3], transposed[20]), ([1], [2]))
        self.assertEqual(decode(softmax[5][0])[3], [2**64 - 1])
        (constant,) = map(decode, graph[5])
        self.assertEqual((constant[1], constant[2], constant[8]), ([1, 2], [1], [b"w"]))
        self.assertEqual(constant[9], [struct.pack("<2f", 1.0, 2.0)])
        tensor = decode(decode(decode(graph[11][0])[2][0])[1][0])
        self.assertEqual([dict(decode(d)) for d in decode(tensor[2][0])[1]], [{2: [b"batch"]}, {1: [2]}])

    def test_a_shape_that_does_not_fit_is_refused(self):
        with self.assertRaisesRegex(ValueError, "do not fill"):
            onnx_graph.Graph("tiny").constant("w", array("f", [1.0, 2.0]), [3])


class Weights(unittest.TestCase):
    def test_strides_are_honoured(self):
        storage = array("f", range(8))
        self.assertEqual(list(gather_strided(storage, 1, (2, 3), (1, 2))), [1, 3, 5, 2, 4, 6])
        self.assertEqual(list(gather_strided(storage, 0, (2, 1, 2), (4, 99, 1))), [0, 1, 4, 5])
        self.assertEqual(list(gather_strided(storage, 3, (1, 1), (7, 7))), [3])
        self.assertEqual(list(gather_strided(storage, 2, (2, 2), (1, 0))), [2, 2, 3, 3])

    def test_a_legacy_torch_file_is_read(self):
        class Storage:
            pass

        storage_type = type("FloatStorage", (), {"__module__": "torch"})

        def rebuild(*_):
            raise AssertionError("only its name is pickled")

        rebuild.__module__, rebuild.__qualname__, rebuild.__name__ = "torch._utils", *["_rebuild_tensor_v2"] * 2

        class Permuted:
            def __reduce__(self):
                return rebuild, (Storage(), 0, (2, 2), (1, 2), False, collections.OrderedDict())

        class Writer(pickle.Pickler):
            def persistent_id(self, value):
                return ("storage", storage_type, "key", "cpu", 4, None) if isinstance(value, Storage) else None

        modules = {
            "torch": types.SimpleNamespace(FloatStorage=storage_type),
            "torch._utils": types.SimpleNamespace(_rebuild_tensor_v2=rebuild),
        }
        file = io.BytesIO()
        with mock.patch.dict(sys.modules, modules):
            for value in (0x1950A86A20F9469CFC6C, 1001, {}, {"w": Permuted()}, ["key"]):
                Writer(file, 2).dump(value)
        file.write(struct.pack("<q4f", 4, 0, 1, 2, 3))
        tensors = read_torch_legacy(file.getvalue())
        self.assertEqual(tensors["w"].shape, (2, 2))
        self.assertEqual(list(tensors["w"].values), [0, 2, 1, 3])

    def test_a_pickle_that_names_another_function_is_refused(self):
        class Evil:
            def __reduce__(self):
                return print, ("this must not be printed",)

        with self.assertRaisesRegex(pickle.UnpicklingError, "builtins.print, which is refused"):
            read_torch_legacy(pickle.dumps(Evil()))

    def test_safetensors_are_read(self):
        header = json.dumps({"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
        (tensor,) = read_safetensors(struct.pack("<Q", len(header)) + header + struct.pack("<6f", *range(6))).values()
        self.assertEqual(list(tensor.transposed().values), [0, 3, 1, 4, 2, 5])
        self.assertEqual(tensor.transposed().shape, (3, 2))

    def test_quantising_rounds_to_nearest(self):
        for limit in (minilm.WEIGHT_LIMIT, minilm.EMBEDDING_LIMIT):
            row = array("f", [-1.0, -0.7, -0.004, 0.0, 0.004, 0.33, 1.0])
            values, scale = minilm.quantise_row(row, limit)
            self.assertEqual((min(values), max(values)), (-limit, limit))
            for value, number in zip(values, row):
                self.assertLessEqual(abs(value * scale - number), scale / 2 + 1e-6)
        self.assertEqual(list(minilm.quantise_row(array("f", [0.0, 0.0]), 64)[0]), [0, 0])


class Tokens(TemporaryFolder):
    def test_words_are_split_as_bert_does(self):
        text, expected = "A man's $5 Café\tnoir\u200b — 日本", "a man ' s $ 5 cafe noir — 日 本"
        self.assertEqual(wordpiece.words(text), expected.split())

    def test_the_longest_known_piece_comes_first(self):
        vocabulary = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "play": 3, "playing": 4, "##ing": 5, "##s": 6}
        path = self.folder / "tokenizer.json"
        path.write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")
        tokenizer = wordpiece.WordPiece(path)
        self.assertEqual(tokenizer.encode("playing plays"), [1, 4, 3, 6, 2])
        self.assertEqual(tokenizer.encode("played"), [1, 0, 2])


class Downloads(TemporaryFolder):
    def wheels(self, sha256, content):
        wheel = {"file": "a-1.whl", "bytes": len(content), "sha256": sha256}
        packages = {"a": {"version": "1", "wheels": {"any": wheel}}}

        def download(_requirement, wheel, folder):
            self.downloads += 1
            (folder / wheel["file"]).write_bytes(content)

        self.downloads = 0
        report = mock.Mock(step=mock.Mock(return_value=contextlib.nullcontext()))
        return wheels.Wheels(packages, "linux-x86_64", self.folder / "downloads", report, download)

    def archive(self):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("name", "content")
        return file.getvalue()

    def test_another_hash_is_refused_and_not_kept(self):
        with self.assertRaisesRegex(SetupFailure, "not the one that was pinned"):
            self.wheels("0" * 64, self.archive()).open("a")
        self.assertEqual(list((self.folder / "downloads").iterdir()), [])

    def test_a_wheel_is_fetched_once_and_a_damaged_one_again(self):
        content = self.archive()
        source = self.wheels(hashlib.sha256(content).hexdigest(), content)
        for _ in range(2):
            with source.open("a") as archive:
                self.assertEqual(archive.read("name"), b"content")
        self.assertEqual(self.downloads, 1)
        (self.folder / "downloads" / "a-1.whl").write_bytes(content[:10])
        source.open("a").close()
        self.assertEqual(self.downloads, 2)

    def test_an_unsupported_platform_lists_the_supported_ones(self):
        with self.assertRaises(SetupFailure) as caught:
            wheels.check_platform(wheels.load_packages(), "windows-x86_64")
        self.assertIn("linux-x86_64, linux-aarch64, darwin-arm64", caught.exception.cure)

    def test_an_old_glibc_and_another_libc_are_refused(self):
        for libc in (("glibc", "2.17"), ("", "")):
            patched = mock.patch("platform.libc_ver", return_value=libc)
            with patched, self.assertRaisesRegex(SetupFailure, "needs glibc 2.28"):
                wheels.check_platform(wheels.load_packages(), "linux-x86_64")

    def test_what_pip_says_becomes_what_to_do(self):
        for output, expected in (
            ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "not the one that was pinned"),
            ("WARNING: Retrying after connection broken by ...", "index was not reached"),
            ("OSError: [Errno 28] No space left on device", "disk is full"),
            ("ERROR: No matching distribution found for a==1", "No matching distribution"),
        ):
            self.assertIn(expected, wheels._pip_failure("a==1", output).what)


class Pieces(TemporaryFolder):
    def setUp(self):
        super().setUp()
        self.target = self.folder / "models" / "a"

    def make(self, made_from, content="text"):
        with pieces.making(self.target, made_from) as folder:
            (folder / "file").write_text(content, encoding="utf-8")

    def test_a_piece_is_complete_until_its_origin_or_its_files_change(self):
        self.assertFalse(pieces.is_complete(self.target, {"recipe": 1}))
        self.make({"recipe": 1})
        self.assertTrue(pieces.is_complete(self.target, {"recipe": 1}))
        self.assertFalse(pieces.is_complete(self.target, {"recipe": 2}))
        self.make({"recipe": 2}, "other")
        self.assertTrue(pieces.is_complete(self.target, {"recipe": 2}))
        self.assertEqual((self.target / "file").read_text(encoding="utf-8"), "other")
        (self.target / "file").write_text("cut", encoding="utf-8")
        self.assertFalse(pieces.is_complete(self.target, {"recipe": 2}))
        self.assertEqual(pieces.stale([self.target]), [])

    def test_a_changed_byte_is_damage_that_only_reading_finds(self):
        self.make({"recipe": 1})
        self.assertEqual(pieces.damaged(self.target), [])
        (self.target / "file").write_text("tExt", encoding="utf-8")
        self.assertTrue(pieces.is_complete(self.target, {"recipe": 1}))
        self.assertEqual(pieces.damaged(self.target), ["file"])
        (self.target / "file").unlink()
        self.assertFalse(pieces.is_complete(self.target, {"recipe": 1}))

    def test_a_piece_without_hashes_is_complete_but_not_verified(self):
        self.make({"recipe": 1})
        known = pieces.record(self.target)
        self.assertEqual(known["sha256"], {"file": hashlib.sha256(b"text").hexdigest()})
        del known["sha256"]
        (self.target / pieces.RECORD).write_text(json.dumps(known), encoding="utf-8")
        self.assertTrue(pieces.is_complete(self.target, {"recipe": 1}))
        self.assertEqual(pieces.damaged(self.target), ["file"])

    def test_a_record_without_files_is_not_of_a_complete_piece(self):
        self.make({"recipe": 1})
        (self.target / pieces.RECORD).write_text('{"made_from": {"recipe": 1}}', encoding="utf-8")
        self.assertFalse(pieces.is_complete(self.target, {"recipe": 1}))

    def test_everything_is_flushed_before_it_is_put_in_place(self):
        flushed = []

        def flush(path):
            flushed.append((path.name, self.target.exists()))

        with mock.patch("pieces._flush", flush), pieces.making(self.target, {}) as folder:
            (folder / "onnx").mkdir()
            (folder / "onnx" / "file").touch()
        before = sorted(name for name, in_place in flushed if not in_place)
        self.assertEqual(before, ["file", "new", "onnx", pieces.RECORD])
        self.assertEqual([name for name, in_place in flushed if in_place], ["models"])

    def test_only_a_folder_may_refuse_to_be_flushed(self):
        file = self.folder / "file"
        file.touch()
        with mock.patch("os.fsync", side_effect=OSError(errno.EINVAL, "Invalid argument")):
            pieces._flush(self.folder)
            with self.assertRaises(OSError):
                pieces._flush(file)

    def test_a_failure_leaves_the_old_piece_and_nothing_else(self):
        self.make({"recipe": 1})
        with self.assertRaises(ZeroDivisionError), pieces.making(self.target, {"recipe": 2}):
            raise ZeroDivisionError
        self.assertTrue(pieces.is_complete(self.target, {"recipe": 1}))
        self.assertEqual(list(self.target.parent.iterdir()), [self.target])

    def test_a_killed_setup_leaves_no_piece_but_a_folder_to_remove(self):
        program = (
            "import os, pathlib, pieces, signal, sys\n"
            "with pieces.making(pathlib.Path(sys.argv[1]), {}) as folder:\n"
            "    (folder / 'file').write_text('half')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        killed = subprocess.run([sys.executable, "-c", program, str(self.target)], cwd=HERE)
        self.assertEqual(killed.returncode, -9)
        self.assertFalse(self.target.exists())
        self.assertEqual(len(pieces.stale([self.target])), 1)

    def test_a_folder_of_someone_else_is_not_replaced(self):
        self.target.mkdir(parents=True)
        (self.target / "mine").touch()
        with self.assertRaisesRegex(SetupFailure, "in the way"):
            self.make({})
        self.assertTrue((self.target / "mine").exists())

    def test_a_second_setup_waits_for_the_first(self):
        program = (
            "import pathlib, pieces, sys\n"
            "with pieces.only_one(pathlib.Path(sys.argv[1]), lambda text: print(text, flush=True)):\n"
            "    print('working', flush=True)\n"
        )
        with pieces.only_one(self.folder, self.fail):
            other = subprocess.Popen(
                [sys.executable, "-c", program, str(self.folder)], cwd=HERE, stdout=subprocess.PIPE, text=True
            )
            self.assertIn("waiting for it", other.stdout.readline())
        self.assertEqual(other.communicate()[0], "working\n")


class Homes(TemporaryFolder):
    """A home whose pieces are small files; `made` lists the pieces that were made."""

    def setUp(self):
        super().setUp()
        self.made = []

    def run_setup(self, check=False, own=None):
        report = mock.Mock()
        subject = setup.Setup(self.folder, wheels.load_packages(), "linux-x86_64", report, own)

        def make(folder):
            self.made.append(folder)
            (folder / "file").write_text("text", encoding="utf-8")

        subject.pieces = [piece._replace(make=make) for piece in subject.pieces]
        self.made.clear()
        subject.run(check)
        return [call.args[0] for call in report.say.call_args_list]

    def test_only_a_check_finds_and_repairs_a_changed_byte(self):
        self.run_setup()
        self.assertEqual(len(self.made), 4)
        file = self.folder / "models" / "efficientnet-lite0" / "file"
        file.write_text("tExt", encoding="utf-8")
        self.run_setup()
        self.assertEqual(self.made, [])
        said = self.run_setup(check=True)
        self.assertEqual(said, ["  damaged: models/efficientnet-lite0 is made again (file)"])
        self.assertEqual((len(self.made), file.read_text(encoding="utf-8")), (1, "text"))
        self.assertEqual((self.run_setup(check=True), self.made), ([], []))

    def test_with_a_library_of_the_users_none_is_put_into_the_home(self):
        self.run_setup(own=self.folder / "libonnxruntime.so")
        self.assertEqual(len(self.made), 3)
        self.assertFalse((self.folder / "onnxruntime").exists())
        self.run_setup()
        self.assertEqual(len(self.made), 1)


class Command(TemporaryFolder):
    def run_setup(self, **environment):
        output, errors = io.StringIO(), io.StringIO()
        without_own = {name: value for name, value in os.environ.items() if name != "ORT_DYLIB_PATH"}
        with mock.patch.dict("os.environ", {**without_own, **environment}, clear=True):
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
                code = setup.main(["--home", str(self.folder / "home")])
        self.output = output.getvalue()
        return code, errors.getvalue()

    def test_a_library_of_the_users_makes_any_platform_do(self):
        library = mock.MagicMock(version="1.24.1")
        library.__enter__.return_value = library
        unsupported = mock.patch("setup.this_platform", return_value="plan9-mips")
        work = mock.patch.object(setup.Setup, "run", return_value=0)
        with unsupported, work, mock.patch("setup.Library", return_value=library) as load:
            self.assertIn("no pinned libonnxruntime", self.run_setup(ORT_DYLIB_PATH="")[1])
            self.assertEqual(self.run_setup(ORT_DYLIB_PATH="mine.so"), (0, ""))
            load.assert_called_once_with(Path.cwd() / "mine.so")
            self.assertIn(f"ONNX Runtime 1.24.1 is {Path.cwd() / 'mine.so'}", self.output)
            library.version = "1.9.0"
            self.assertIn("mine.so is version 1.9.0, which is too old", self.run_setup(ORT_DYLIB_PATH="mine.so")[1])

    def test_a_library_of_the_users_that_cannot_be_loaded_is_named(self):
        path = self.folder / "mine.so"
        for content in (None, b"not a library"):
            if content:
                path.write_bytes(content)
            code, errors = self.run_setup(ORT_DYLIB_PATH=str(path))
            self.assertEqual(code, 1)
            self.assertIn(f"ORT_DYLIB_PATH: {path} cannot be loaded here", errors)
            self.assertIn("or unset it", errors)

    def test_a_failure_says_what_to_do_and_has_no_traceback(self):
        failure = SetupFailure("the index was not reached", "check the network.")
        with mock.patch("setup.check_platform"), mock.patch.object(setup.Setup, "run", side_effect=failure):
            code, errors = self.run_setup()
        self.assertEqual(code, 1)
        self.assertEqual(errors, "setup failed: the index was not reached\n  what to do: check the network.\n")

    def test_a_full_disk_is_named(self):
        full = OSError(28, "No space left on device")
        with mock.patch("setup.check_platform"), mock.patch.object(setup.Setup, "run", side_effect=full):
            self.assertIn("the disk is full", self.run_setup()[1])

    def test_a_library_that_cannot_be_loaded_is_named(self):
        path = self.folder / "libonnxruntime.so"
        path.write_bytes(b"not a library")
        with self.assertRaisesRegex(SetupFailure, "libonnxruntime.so cannot be loaded here"):
            setup.load_library(path)

    def test_the_home_comes_from_the_environment(self):
        for environment, expected in (
            ({"SEMSQL_HOME": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
            ({"SEMSQL_HOME": "a/~", "HOME": "/c"}, Path.cwd() / "a/~"),
            ({"SEMSQL_HOME": "~/a", "HOME": "/c"}, Path.cwd() / "~/a"),
            ({"SEMSQL_HOME": "", "XDG_CACHE_HOME": "/b"}, "/b/semsql"),
            ({"XDG_CACHE_HOME": "b", "HOME": "/c"}, "/c/.cache/semsql"),
            ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/semsql"),
            ({"HOME": "/c"}, "/c/.cache/semsql"),
            ({"HOME": ""}, Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache/semsql"),
        ):
            with mock.patch.dict("os.environ", environment, clear=True):
                self.assertEqual(setup.default_home(), Path(expected), environment)


if __name__ == "__main__":
    unittest.main()
