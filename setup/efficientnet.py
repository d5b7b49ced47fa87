"""EfficientNet-Lite0 as an ONNX graph, and ConSE on top of it.

Input: pixel_values FLOAT [batch, 3, 224, 224], RGB, scaled as preprocessor_config.json says.
The architecture is the Lite0 of Google's TPU repository (Tan and Le 2019 without squeeze-and-excitation, with
ReLU6), and the tensor names are those of the PyTorch port. TensorFlow's SAME padding is ONNX's SAME_UPPER.
"""

import math
from array import array

from onnx_graph import FLOAT, Graph

FEATURES, CLASSES = 1280, 1000
# How many classes ConSE mixes; the T of Norouzi et al., who use 10.
NEAREST_CLASSES = 10
# (repeats, kernel, stride, expansion, channels out) of each stage
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_BATCH_NORM_EPSILON = 1e-3

PREPROCESSOR = {
    "image_processor_type": "EfficientNetImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    # (x - 127) / 128 on bytes
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
}
FEATURES_CONFIG = {"model_type": "efficientnet", "hidden_dim": FEATURES, "image_size": 224, "normalized": False}


def conse_config(dimensions, text_model):
    """The configuration of an image encoder whose vectors live in the space of a text model."""
    return {
        "model_type": "conse",
        "projection_dim": dimensions,
        "image_size": 224,
        "embedding_space": text_model,
        "normalized": True,
    }


def _trunk(name, weights):
    """The network up to its pooled features, whose name it returns with the graph."""
    g = Graph(name)
    g.input("pixel_values", FLOAT, ["batch", 3, 224, 224])
    lower, upper = g.constant("zero", array("f", [0.0]), []), g.constant("six", array("f", [6.0]), [])

    def convolution(x, kernel_name, norm_name, stride=1, groups=1, activate=True):
        """A convolution with its batch norm folded in: w * s and b - mean * s, where s = weight / sqrt(var + eps)."""
        norm = [weights[f"{norm_name}.{part}"].values for part in ("weight", "bias", "running_mean", "running_var")]
        scales = [weight / math.sqrt(variance + _BATCH_NORM_EPSILON) for weight, _, _, variance in zip(*norm)]
        shifts = array("f", (bias - mean * s for (_, bias, mean, _), s in zip(zip(*norm), scales)))
        kernel = weights[kernel_name + ".weight"]
        each = len(kernel.values) // kernel.shape[0]
        folded = array("f")
        for i, s in enumerate(scales):
            folded.extend([value * s for value in kernel.values[i * each : (i + 1) * each]])
        size = kernel.shape[2]
        inputs = [
            x,
            g.constant(kernel_name + ".folded_weight", folded, kernel.shape),
            g.constant(kernel_name + ".folded_bias", shifts),
        ]
        y = g.node(
            "Conv", inputs, kernel_shape=[size, size], strides=[stride, stride], group=groups, auto_pad="SAME_UPPER"
        )
        return g.node("Clip", [y, lower, upper]) if activate else y

    x = convolution("pixel_values", "_conv_stem", "_bn0", stride=2)
    block, channels = 0, 32
    for repeats, kernel, first_stride, expansion, channels_out in _STAGES:
        for repeat in range(repeats):
            prefix = f"_blocks.{block}."
            stride = first_stride if repeat == 0 else 1
            wide = channels * expansion
            if weights[prefix + "_depthwise_conv.weight"].shape != (wide, 1, kernel, kernel):
                raise ValueError(f"block {block} is not that of EfficientNet-Lite0")
            y = x
            if expansion != 1:
                y = convolution(y, prefix + "_expand_conv", prefix + "_bn0")
            y = convolution(y, prefix + "_depthwise_conv", prefix + "_bn1", stride, groups=wide)
            y = convolution(y, prefix + "_project_conv", prefix + "_bn2", activate=False)
            x = g.node("Add", [y, x]) if stride == 1 and channels == channels_out else y
            block, channels = block + 1, channels_out
    x = convolution(x, "_conv_head", "_bn1")
    return g, g.node("Flatten", [g.node("GlobalAveragePool", [x])], axis=1)


def features_graph(weights):
    """Output: features FLOAT [batch, 1280], the pooled features before the classifier."""
    g, features = _trunk("efficientnet_lite0", weights)
    g.node("Identity", [features], output="features")
    g.output("features", FLOAT, ["batch", FEATURES])
    return g


def conse_graph(weights, label_matrix, dimensions):
    """Output: image_embeds FLOAT [batch, dimensions], of length 1, in the space of the label vectors.

    ConSE (Norouzi et al. 2013, "Zero-shot learning by convex combination of semantic embeddings"): the sum of
    the label vectors of the most probable classes, each weighted by its probability.
    """
    g, features = _trunk("conse_efficientnet_lite0", weights)
    fc = weights["_fc.weight"]
    fc_inputs = [
        features,
        g.constant("fc.weight", fc.values, fc.shape),
        g.constant("fc.bias", weights["_fc.bias"].values),
    ]
    probabilities = g.node("Softmax", [g.node("Gemm", fc_inputs, transB=1)], axis=-1)
    count = g.constant("nearest_classes", array("q", [NEAREST_CLASSES]))
    best, classes = g.node("TopK", [probabilities, count], outputs=2, axis=-1)
    labels = g.node("Gather", [g.constant("label_matrix", label_matrix, [CLASSES, dimensions]), classes], axis=0)
    share = g.node("Unsqueeze", [best, g.constant("last_axis", array("q", [-1]))])
    total = g.node("ReduceSum", [g.node("Mul", [labels, share]), g.constant("class_axis", array("q", [1]))], keepdims=0)
    g.node("LpNormalization", [total], output="image_embeds", axis=-1, p=2)
    g.output("image_embeds", FLOAT, ["batch", dimensions])
    return g
