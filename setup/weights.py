"""Reads trained weights, as `array.array`s, from the two file formats in which they come."""

import collections
import io
import json
import pickle
import struct
from array import array
from itertools import product


class Tensor:
    """A shape and its values in row-major order."""

    def __init__(self, shape, values):
        self.shape = tuple(shape)
        self.values = values

    def transposed(self):
        """The transpose of a matrix; column j of a row-major matrix is every n-th value from j on."""
        _, columns = self.shape
        out = array(self.values.typecode)
        for j in range(columns):
            out.extend(self.values[j::columns])
        return Tensor(self.shape[::-1], out)


def read_safetensors(data):
    """Reads a safetensors file: a header length (u64), a JSON header, then the raw little-endian values."""
    (header_length,) = struct.unpack_from("<Q", data)
    start = 8 + header_length
    header = json.loads(bytes(data[8:start]))
    view = memoryview(data)
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        typecode = {"F32": "f", "I64": "q"}.get(entry["dtype"])
        if typecode is None:
            raise ValueError(f"{name}: values of type {entry['dtype']} are not read here")
        begin, end = entry["data_offsets"]
        values = array(typecode)
        values.frombytes(view[start + begin : start + end])
        tensors[name] = Tensor(entry["shape"], values)
    return tensors


def gather_strided(storage, offset, shape, strides):
    """Copies a strided view into row-major order: innermost dimension by slices, outer ones by counting.

    Dimensions of size 1 add nothing, so that a 1x1 convolution is copied a row at a time.
    """
    kept = [(size, stride) for size, stride in zip(shape, strides) if size != 1]
    if not kept:
        return storage[offset : offset + 1]
    *outer, (size, stride) = kept
    out = array(storage.typecode)
    for index in product(*(range(n) for n, _ in outer)):
        start = offset + sum(i * s for i, (_, s) in zip(index, outer))
        if stride == 0:
            out.extend([storage[start]] * size)
        else:
            out.extend(storage[start : start + (size - 1) * stride + 1 : stride])
    return out


class _View:
    """A tensor of the pickle before its storage was read."""

    def __init__(self, storage, offset, shape, strides):
        self.typecode, self.key = storage
        self.offset, self.shape, self.strides = offset, shape, strides


class _RestrictedUnpickler(pickle.Unpickler):
    """Builds dictionaries of tensors and nothing else: a pickle may otherwise name any function to call."""

    _ALLOWED = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, strides, *_: _View(
            storage, offset, shape, strides
        ),
        ("torch", "FloatStorage"): "f",
        ("torch", "LongStorage"): "q",
    }

    def find_class(self, module, name):
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the weights file asks for {module}.{name}, which is refused") from None

    def persistent_load(self, pid):
        kind, typecode, key, *_ = pid
        if kind != "storage":
            raise pickle.UnpicklingError(f"the weights file holds a {kind!r}, which is refused")
        return typecode, key


def read_torch_legacy(data):
    """Reads a state dictionary saved by torch before 1.6 (not a zip file).

    It is a row of pickles: magic number, protocol, system, the tensors (each a view: storage key, offset,
    shape, strides), the storage keys; then, for each key, a count (i64) and the raw values. The layout is that
    of `_legacy_save` in `torch/serialization.py`.
    """
    file = io.BytesIO(data)
    magic, protocol, _system, views, keys = (_RestrictedUnpickler(file).load() for _ in range(5))
    if magic != 0x1950A86A20F9469CFC6C or protocol != 1001:
        raise ValueError("not a legacy torch file")
    typecodes = {view.key: view.typecode for view in views.values()}
    storages = {}
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        storage = array(typecodes[key])
        storage.frombytes(file.read(count * storage.itemsize))
        storages[key] = storage
    return {
        name: Tensor(view.shape, gather_strided(storages[view.key], view.offset, view.shape, view.strides))
        for name, view in views.items()
    }
