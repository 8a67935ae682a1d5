"""RapidOCR's networks, compiled by our settings, and the detector's end laid out so that it takes less time.

RapidOCR has no setting for either.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUGH, EXACT = "bf16", "f32"
"""What OpenVINO calls 16 and 32 bits."""

_END = ("Sigmoid", "Add", "ConvolutionBackpropData", "Relu", "Add", "ConvolutionBackpropData")
"""The last layers of the detector of PP-OCR, from the end: from a quarter of the picture's size to the whole."""


@cache
def counts_in_16_bits() -> bool:
    """Whether the processor does so by itself; elsewhere it would take as long as 32 bits."""
    from openvino import Core

    return "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compiled(model: Any, precision: str) -> Any:
    """An OpenVINO request for that model, with the threads that the pool grants its worker.

    32 bits for whatever counts: with the 16 that OpenVINO takes where a processor has them, boxes came out too tight
    for their letters, and what is found would depend on the machine.  No pinning: the workers of a pool would all
    choose the first core.
    """
    from openvino import Core

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": int(os.environ.get("OMP_NUM_THREADS") or 1),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    return Core().compile_model(model, "CPU", settings).create_infer_request()


def with_plain_end(model: Any) -> Any:
    """The detector with its last two layers, which double the picture's sides, reckoned at a quarter of them.

    A transposed convolution whose windows do not overlap is, for each of a window's 2 x 2 pixels, a convolution of one
    pixel.  So both layers become convolutions of one pixel with 4 and 16 times the outputs, which are laid out as
    pixels at the very end.  The sums are the same; in 16 bits OpenVINO takes a quarter less time for it all.
    A network that ends otherwise is given back as it is.
    """
    from openvino import Model
    from openvino import opset13 as layer

    copy = model.clone()
    end = _end(copy)
    if end is None:
        return model
    shift2, double2, shift1, double1 = end
    weights1, weights2 = (_constant(node) for node in (double1, double2))
    channels = weights1.shape[1]
    # Outputs in the order of the window's row, its column, the channel.
    first = weights1.transpose(2, 3, 1, 0).reshape(4 * channels, -1)
    # Outputs by row and column within the 4 x 4 pixels that one pixel becomes.
    second = np.zeros((4, 4, 4 * channels), np.float32)
    for row in range(2):
        for column in range(2):
            own = slice((2 * row + column) * channels, (2 * row + column + 1) * channels)
            second[2 * row : 2 * row + 2, 2 * column : 2 * column + 2, own] = weights2[:, 0].transpose(1, 2, 0)

    def pixelwise(before: Any, weights: NDArray[np.float32], shift: NDArray[np.float32]) -> Any:
        kernel = layer.constant(np.ascontiguousarray(weights[:, :, None, None]))
        summed = layer.convolution(before, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
        return layer.add(
            summed, layer.constant(np.tile(shift.ravel(), len(weights) // shift.size)[None, :, None, None])
        )

    inner = layer.relu(pixelwise(double1.input_value(0), first, _constant(shift1)))
    outer = layer.sigmoid(pixelwise(inner, second.reshape(16, -1), _constant(shift2)))
    return Model([layer.depth_to_space(outer, "blocks_first", 4)], copy.get_parameters())


def _end(model: Any) -> tuple[Any, Any, Any, Any] | None:
    """The shift and the layer of the last doubling, and of that before it."""
    nodes: list[Any] = []
    node = model.get_results()[0]
    for kind in _END:
        node = node.input_value(0).get_node()
        while node.get_type_name() == "Identity":
            node = node.input_value(0).get_node()
        if node.get_type_name() != kind:
            return None
        nodes.append(node)
    last, before = nodes[2], nodes[5]
    plain = len(model.get_results()) == 1 and _is_plain_doubling(last) and _is_plain_doubling(before)
    shifts = all(node.input_value(1).get_node().get_type_name() == "Constant" for node in (nodes[1], nodes[4]))
    if not plain or not shifts or _constant(last).shape[1] != 1:
        return None
    return nodes[1], last, nodes[4], before


def _is_plain_doubling(layer: Any) -> bool:
    """Windows of 2 x 2 pixels side by side, and nothing else."""
    how = layer.get_attributes()
    if layer.input_value(1).get_node().get_type_name() != "Constant" or _constant(layer).shape[2:] != (2, 2):
        return False
    nothing = [*how["pads_begin"], *how["pads_end"], *how["output_padding"]]
    return list(how["strides"]) == [2, 2] and list(how["dilations"]) == [1, 1] and not any(nothing)


def _constant(node: Any) -> NDArray[np.float32]:
    """Its second input: weights or a shift."""
    return np.asarray(node.input_value(1).get_node().data, np.float32)
