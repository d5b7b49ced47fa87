"""The BERT encoder of all-MiniLM-L6-v2 as an ONNX graph, in 32-bit floats and in 8-bit integers.

Inputs: input_ids, attention_mask, token_type_ids INT64 [batch, sequence].
Output: last_hidden_state FLOAT [batch, sequence, hidden]. Pooling and normalisation are left to the reader of
1_Pooling/config.json and modules.json. The architecture is that of Devlin et al. 2018 (BERT), with the tensor
names of Hugging Face's BertModel.
"""

import math
from array import array

from onnx_graph import FLOAT, INT64, Graph
from weights import Tensor

# Weights use 7 bits of the 8. Before VNNI, x86 multiplies u8 by i8 and adds two products into 16 bits, which
# saturates: 2 * 255 * 127 > 32767, while 2 * 255 * 64 fits. So every processor computes the same sums.
WEIGHT_LIMIT = 64
EMBEDDING_LIMIT = 127


def quantise_row(row, limit):
    """Symmetric quantisation of one row: integers within -limit..limit (127 at most) and the scale that undoes it."""
    largest = max(max(row), -min(row))
    if largest == 0.0:
        return array("b", bytes(len(row))), 1.0
    factor = limit / largest
    # int() cuts towards zero, so a shift into the positive numbers makes it round to nearest.
    return array("b", [int(value * factor + 128.5) - 128 for value in row]), largest / limit


class _FloatLayers:
    """Layers with the weights as they were trained."""

    def __init__(self, graph, weights):
        self.graph, self.weights = graph, weights

    def vector(self, name):
        return self.graph.constant(name, self.weights[name].values)

    def table(self, name, ids):
        tensor = self.weights[name]
        return self.graph.node("Gather", [self.graph.constant(name, tensor.values, tensor.shape), ids])

    def word_table(self, name, ids):
        return self.table(name, ids)

    def quantise(self, x):
        """Prepares x once for the linear layers that read it; nothing to do for floats."""
        return x

    def linear(self, x, name):
        tensor = self.weights[name + ".weight"].transposed()
        weight = self.graph.constant(name + ".weight_T", tensor.values, tensor.shape)
        product = self.graph.node("MatMul", [x, weight])
        return self.graph.node("Add", [product, self.vector(name + ".bias")])

    def norm(self, x, name, epsilon):
        inputs = [x, self.vector(name + ".weight"), self.vector(name + ".bias")]
        return self.graph.node("LayerNormalization", inputs, axis=-1, epsilon=epsilon)


class _IntegerLayers(_FloatLayers):
    """Linear layers and the word table in 8-bit integers; the rest stays in floats.

    The inputs of a linear layer are quantised while running ("dynamic" quantisation), each token by its own
    largest value. ONNX's DynamicQuantizeLinear takes one scale for the whole batch instead: then a vector depends
    on the other texts of its batch (measured: the cosine between a text alone and in a batch fell to 0.97), and
    the same SQL would not give the same vectors. Per token it is exactly equal, and closer to the floats.
    """

    def _quantised_rows(self, name, limit):
        tensor = self.weights[name]
        rows, columns = tensor.shape
        values, scales = array("b"), array("f")
        for start in range(0, rows * columns, columns):
            row, scale = quantise_row(tensor.values[start : start + columns], limit)
            values.extend(row)
            scales.append(scale)
        return Tensor(tensor.shape, values), scales

    def word_table(self, name, ids):
        g = self.graph
        table, scales = self._quantised_rows(name, EMBEDDING_LIMIT)
        row = g.node("Gather", [g.constant(name + "_int8", table.values, table.shape), ids])
        scale = g.node("Gather", [g.constant(name + "_scale", scales, [len(scales), 1]), ids])
        return g.node("Mul", [g.node("Cast", [row], to=FLOAT), scale])

    def quantise(self, x):
        """Returns x in u8 around 128, and the scale of each token [batch, sequence, 1]."""
        g = self.graph

        def number(name, value):
            return g.constant(name, array("f", [value]), [])

        largest = g.node("ReduceMax", [g.node("Abs", [x])], axes=[-1], keepdims=1)
        largest = g.node("Max", [largest, number("least_scale", 1e-12)])
        scaled = g.node("Mul", [x, g.node("Div", [number("127", 127.0), largest])])
        values = g.node("QuantizeLinear", [scaled, number("unit_scale", 1.0), self._input_zero()])
        return values, g.node("Mul", [largest, number("1/127", 1 / 127)])

    def _input_zero(self):
        return self.graph.constant("input_zero", array("B", [128]), [])

    def linear(self, x, name):
        g = self.graph
        values, token_scale = x
        rows, scales = self._quantised_rows(name + ".weight", WEIGHT_LIMIT)
        matrix = rows.transposed()
        weight = g.constant(name + ".weight_T_int8", matrix.values, matrix.shape)
        weight_zero = g.constant("weight_zero", array("b", [0]), [])
        product = g.node("MatMulInteger", [values, weight, self._input_zero(), weight_zero])
        column_scale = g.constant(name + ".weight_scale", scales)
        product = g.node("Mul", [g.node("Cast", [product], to=FLOAT), column_scale])
        return g.node("Add", [g.node("Mul", [product, token_scale]), self.vector(name + ".bias")])


def encoder_graph(config, weights, quantised):
    """The encoder of a BertModel configuration and its weights (a dictionary of `Tensor`s)."""
    g = Graph("bert")
    layers = (_IntegerLayers if quantised else _FloatLayers)(g, weights)
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    head_size = hidden // heads
    epsilon = float(config["layer_norm_eps"])
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        g.input(name, INT64, ["batch", "sequence"])
    g.output("last_hidden_state", FLOAT, ["batch", "sequence", hidden])

    def integers(name, *values):
        return g.constant(name, array("q", values))

    def number(name, value):
        return g.constant(name, array("f", [value]), [])

    first = integers("first", 0)
    length = g.node("Slice", [g.node("Shape", ["input_ids"]), integers("from_1", 1), integers("to_2", 2), first])
    count = config["max_position_embeddings"]
    positions = g.node("Slice", [g.constant("all_positions", array("q", range(count))), first, length, first])
    x = g.node(
        "Add",
        [
            layers.word_table("embeddings.word_embeddings.weight", "input_ids"),
            layers.table("embeddings.token_type_embeddings.weight", "token_type_ids"),
        ],
    )
    x = g.node("Add", [x, layers.table("embeddings.position_embeddings.weight", positions)])
    x = layers.norm(x, "embeddings.LayerNorm", epsilon)
    one = number("one", 1.0)
    mask = g.node("Cast", ["attention_mask"], to=FLOAT)
    mask = g.node("Unsqueeze", [mask, integers("mask_axes", 1, 2)])
    mask = g.node("Mul", [g.node("Sub", [one, mask]), number("hidden_score", -1e9)])
    split_heads = integers("split_heads", 0, 0, heads, head_size)
    join_heads = integers("join_heads", 0, 0, hidden)

    def attention(x, prefix):
        shared = layers.quantise(x)
        parts = []
        for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            y = g.node("Reshape", [layers.linear(shared, f"{prefix}self.{part}"), split_heads])
            parts.append(g.node("Transpose", [y], perm=order))
        query, key, value = parts
        scores = g.node("Mul", [g.node("MatMul", [query, key]), number("score_scale", 1 / math.sqrt(head_size))])
        shares = g.node("Softmax", [g.node("Add", [scores, mask])], axis=-1)
        y = g.node("Transpose", [g.node("MatMul", [shares, value])], perm=[0, 2, 1, 3])
        y = layers.linear(layers.quantise(g.node("Reshape", [y, join_heads])), prefix + "output.dense")
        return layers.norm(g.node("Add", [y, x]), prefix + "output.LayerNorm", epsilon)

    def gelu(x):
        erf = g.node("Erf", [g.node("Div", [x, number("root_2", math.sqrt(2.0))])])
        half = g.node("Mul", [x, number("half", 0.5)])
        return g.node("Mul", [half, g.node("Add", [erf, one])])

    for i in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{i}."
        x = attention(x, prefix + "attention.")
        y = gelu(layers.linear(layers.quantise(x), prefix + "intermediate.dense"))
        y = layers.linear(layers.quantise(y), prefix + "output.dense")
        x = layers.norm(g.node("Add", [y, x]), prefix + "output.LayerNorm", epsilon)
    g.node("Identity", [x], output="last_hidden_state")
    return g
