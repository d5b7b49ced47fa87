"""Runs a model through libonnxruntime's C API by ctypes, and text through all-MiniLM-L6-v2.

The setup needs a model run once, for the label vectors and to check what it made; the Python package
`onnxruntime` would be a pin that depends on the user's Python.
"""

import ctypes
import math
import os
from array import array

from onnx_graph import FLOAT, INT64
from wordpiece import WordPiece

# Positions of functions in struct OrtApi, counted in onnxruntime_c_api.h. They belong to version 1 of the API,
# which never changes: onnxruntime_c_api.cc asserts that ReleaseCustomOpDomain is number 101.
_ORT_API = {
    "GetErrorMessage": 2,
    "CreateEnv": 3,
    "CreateSession": 7,
    "Run": 9,
    "CreateSessionOptions": 10,
    "CreateTensorWithDataAsOrtValue": 49,
    "GetTensorMutableData": 51,
    "GetTensorShapeElementCount": 64,
    "GetTensorTypeAndShape": 65,
    "CreateCpuMemoryInfo": 69,
    "ReleaseEnv": 92,
    "ReleaseStatus": 93,
    "ReleaseMemoryInfo": 94,
    "ReleaseSession": 95,
    "ReleaseValue": 96,
    "ReleaseTensorTypeAndShapeInfo": 99,
    "ReleaseSessionOptions": 100,
}
_API_VERSION = 1
_LOG_ERRORS = 3  # OrtLoggingLevel: ORT_LOGGING_LEVEL_ERROR
_DEVICE_ALLOCATOR, _DEFAULT_MEMORY = 0, 0  # OrtAllocatorType: OrtDeviceAllocator; OrtMemType: OrtMemTypeDefault

_ELEMENT_TYPES = {"f": FLOAT, "q": INT64}


class RuntimeFailure(Exception):
    """The library cannot be loaded, or a call of it failed."""


class _ApiBase(ctypes.Structure):
    """struct OrtApiBase of onnxruntime_c_api.h."""

    _fields_ = [
        ("GetApi", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)),
        ("GetVersionString", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    ]


class Library:
    """A loaded libonnxruntime."""

    def __init__(self, path):
        try:
            library = ctypes.CDLL(os.fspath(path))
            get_base = library.OrtGetApiBase
        except (OSError, AttributeError) as error:
            raise RuntimeFailure(f"{path} cannot be loaded here: {error}") from None
        get_base.restype = ctypes.POINTER(_ApiBase)
        base = get_base().contents
        self.version = base.GetVersionString().decode()
        table = base.GetApi(_API_VERSION)
        if not table:
            raise RuntimeFailure(f"{path} does not offer version {_API_VERSION} of its C API")
        self._table = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))
        self._environment = self.create("CreateEnv", ctypes.c_int(_LOG_ERRORS), b"setup")

    def _function(self, name, result):
        # Argument types are left open: every argument is passed as a ctypes value or as bytes.
        return ctypes.CFUNCTYPE(result)(self._table[_ORT_API[name]])

    def call(self, name, *arguments):
        """Calls a function that returns an OrtStatus*, which is null when all went well."""
        status = self._function(name, ctypes.c_void_p)(*arguments)
        if status:
            status = ctypes.c_void_p(status)
            message = self._function("GetErrorMessage", ctypes.c_char_p)(status).decode()
            self.release("Status", status)
            raise RuntimeFailure(f"ONNX Runtime, {name}: {message}")

    def create(self, name, *arguments):
        """Calls a function whose last argument is where it puts a new object."""
        out = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(out))
        return out

    def release(self, kind, pointer):
        self._function("Release" + kind, None)(pointer)

    def session(self, model):
        return Session(self, self._environment, model)

    def close(self):
        self.release("Env", self._environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Session:
    """A model ready to run."""

    def __init__(self, library, environment, model):
        self._library = library
        options = library.create("CreateSessionOptions")
        try:
            self._session = library.create("CreateSession", environment, os.fsencode(model), options)
        finally:
            library.release("SessionOptions", options)
        self._memory = library.create(
            "CreateCpuMemoryInfo", ctypes.c_int(_DEVICE_ALLOCATOR), ctypes.c_int(_DEFAULT_MEMORY)
        )

    def run(self, inputs, output):
        """Runs the model on {name: (array, shape)} and returns the FLOAT output of that name, flat."""
        library, values = self._library, []
        try:
            for data, shape in inputs.values():
                address, _ = data.buffer_info()
                value = library.create(
                    "CreateTensorWithDataAsOrtValue",
                    self._memory,
                    ctypes.c_void_p(address),
                    ctypes.c_size_t(len(data) * data.itemsize),
                    (ctypes.c_int64 * len(shape))(*shape),
                    ctypes.c_size_t(len(shape)),
                    ctypes.c_int(_ELEMENT_TYPES[data.typecode]),
                )
                values.append(value)
            result = library.create(
                "Run",
                self._session,
                ctypes.c_void_p(),
                (ctypes.c_char_p * len(inputs))(*(name.encode() for name in inputs)),
                (ctypes.c_void_p * len(values))(*(value.value for value in values)),
                ctypes.c_size_t(len(values)),
                (ctypes.c_char_p * 1)(output.encode()),
                ctypes.c_size_t(1),
            )
            values.append(result)
            return self._floats(result)
        finally:
            for value in values:
                library.release("Value", value)

    def _floats(self, value):
        library = self._library
        shape = library.create("GetTensorTypeAndShape", value)
        count = ctypes.c_size_t()
        try:
            library.call("GetTensorShapeElementCount", shape, ctypes.byref(count))
        finally:
            library.release("TensorTypeAndShapeInfo", shape)
        out = array("f")
        out.frombytes(ctypes.string_at(library.create("GetTensorMutableData", value), count.value * out.itemsize))
        return out

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._library.release("MemoryInfo", self._memory)
        self._library.release("Session", self._session)


def normalised(vector):
    length = math.sqrt(sum(x * x for x in vector))
    return array("f", (x / length for x in vector))


def embed_texts(library, folder, texts, model="model.onnx", batch_size=64):
    """Embeds texts with a sentence-transformers BERT folder: the mean over a text's tokens, scaled to length 1."""
    tokenizer = WordPiece(folder / "tokenizer.json")
    vectors = []
    with library.session(folder / "onnx" / model) as session:
        for start in range(0, len(texts), batch_size):
            encoded = [tokenizer.encode(text) for text in texts[start : start + batch_size]]
            longest = max(map(len, encoded))
            ids, mask = array("q"), array("q")
            for row in encoded:
                padding = [0] * (longest - len(row))
                ids.extend(row + padding)
                mask.extend([1] * len(row) + padding)
            shape = (len(encoded), longest)
            inputs = {
                "input_ids": (ids, shape),
                "attention_mask": (mask, shape),
                "token_type_ids": (array("q", bytes(8 * len(ids))), shape),
            }
            states = session.run(inputs, "last_hidden_state")
            size = len(states) // len(ids)
            for i, row in enumerate(encoded):
                first = i * longest * size
                tokens = [states[first + t * size : first + (t + 1) * size] for t in range(len(row))]
                vectors.append(normalised([sum(column) / len(row) for column in zip(*tokens)]))
    return vectors
