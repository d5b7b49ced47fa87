"""Writes ONNX model files with the standard library alone.

The `onnx` package would be one more pin that depends on the user's Python, and all that is needed of it is
a few protobuf messages. Field numbers and enum values come from `onnx/onnx.proto` in the ONNX project; the
wire format is protobuf's: a varint key (field number << 3 | wire type), then the value.
"""

import struct
import sys

# TensorProto.DataType
FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7
# AttributeProto.AttributeType
_ATTRIBUTE_FLOAT, _ATTRIBUTE_INT, _ATTRIBUTE_STRING, _ATTRIBUTE_INTS = 1, 2, 3, 7
# Protobuf wire types
_VARINT, _LENGTH, _FIXED32 = 0, 2, 5

_TYPE_OF_ARRAY = {"f": FLOAT, "B": UINT8, "b": INT8, "i": INT32, "q": INT64}

IR_VERSION = 8
OPSET = 17


def varint(value):
    """Encodes an integer, seven bits a byte; a negative one as its 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _integer(number, value):
    return varint(number << 3 | _VARINT) + varint(value)


def _float(number, value):
    return varint(number << 3 | _FIXED32) + struct.pack("<f", value)


def _bytes(number, value):
    if isinstance(value, str):
        value = value.encode("utf-8")
    return varint(number << 3 | _LENGTH) + varint(len(value)) + value


def _attribute(name, value):
    """AttributeProto: name = 1, f = 2, i = 3, s = 4, ints = 8, type = 20."""
    if isinstance(value, float):
        body, kind = _float(2, value), _ATTRIBUTE_FLOAT
    elif isinstance(value, int):
        body, kind = _integer(3, value), _ATTRIBUTE_INT
    elif isinstance(value, str):
        body, kind = _bytes(4, value), _ATTRIBUTE_STRING
    else:
        body, kind = b"".join(_integer(8, v) for v in value), _ATTRIBUTE_INTS
    return _bytes(1, name) + body + _integer(20, kind)


def _value_info(name, element_type, dimensions):
    """ValueInfoProto: name = 1, type = 2 (TypeProto.tensor_type = 1: elem_type = 1, shape = 2).

    A dimension is a number (dim_value = 1) or a name (dim_param = 2) for one that varies.
    """
    shape = b"".join(_bytes(1, _bytes(2, d) if isinstance(d, str) else _integer(1, d)) for d in dimensions)
    tensor = _integer(1, element_type) + _bytes(2, shape)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


class Graph:
    """An ONNX graph under construction. Nodes are written in the order in which they were added."""

    def __init__(self, name):
        self.name = name
        self._nodes = []
        self._constants = {}
        self._inputs = []
        self._outputs = []

    def input(self, name, element_type, dimensions):
        self._inputs.append(_value_info(name, element_type, dimensions))
        return name

    def output(self, name, element_type, dimensions):
        self._outputs.append(_value_info(name, element_type, dimensions))

    def constant(self, name, values, dimensions=None):
        """Adds an initialiser from an `array.array` (one dimension unless told; `[]` is a scalar).

        The same name again is the same constant. TensorProto: dims = 1, data_type = 2, name = 8, raw_data = 9.
        """
        if name in self._constants:
            return name
        dimensions = [len(values)] if dimensions is None else dimensions
        expected = 1
        for dimension in dimensions:
            expected *= dimension
        if expected != len(values):
            raise ValueError(f"{name}: {len(values)} values do not fill {dimensions}")
        if sys.byteorder != "little":
            raise NotImplementedError("raw_data is little-endian, and so must this machine be")
        head = b"".join(_integer(1, d) for d in dimensions)
        head += _integer(2, _TYPE_OF_ARRAY[values.typecode]) + _bytes(8, name)
        size = len(values) * values.itemsize
        head += varint(9 << 3 | _LENGTH) + varint(size)
        # Large arrays are kept as they are, and only copied into the file.
        self._constants[name] = (head, memoryview(values).cast("B"))
        return name

    def node(self, operator, inputs, output=None, outputs=1, **attributes):
        """Adds a node and returns its output name (a tuple of names where `outputs` is more than one).

        NodeProto: input = 1, output = 2, name = 3, op_type = 4, attribute = 5.
        """
        name = f"{operator}_{len(self._nodes) + 1}"
        if outputs == 1:
            names = [output or name]
        else:
            names = [f"{name}.{i}" for i in range(outputs)]
        body = b"".join(_bytes(1, i) for i in inputs) + b"".join(_bytes(2, o) for o in names)
        body += _bytes(3, name) + _bytes(4, operator)
        body += b"".join(_bytes(5, _attribute(k, v)) for k, v in attributes.items())
        self._nodes.append(body)
        return names[0] if outputs == 1 else tuple(names)

    def write(self, path):
        """Writes the model.

        ModelProto: ir_version = 1, producer_name = 2, graph = 7, opset_import = 8 (version = 2).
        GraphProto: node = 1, name = 2, initializer = 5, input = 11, output = 12.
        """
        parts = [_bytes(1, node) for node in self._nodes] + [_bytes(2, self.name)]
        for head, data in self._constants.values():
            parts.append(varint(5 << 3 | _LENGTH) + varint(len(head) + len(data)) + head)
            parts.append(data)
        parts += [_bytes(11, i) for i in self._inputs] + [_bytes(12, o) for o in self._outputs]
        with open(path, "wb") as file:
            file.write(_integer(1, IR_VERSION) + _bytes(2, "datafusion-semantic setup"))
            file.write(_bytes(8, _integer(2, OPSET)))
            file.write(varint(7 << 3 | _LENGTH) + varint(sum(len(part) for part in parts)))
            for part in parts:
                file.write(part)
