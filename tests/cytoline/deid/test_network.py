"""The detector's end laid out anew: the same map by other layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.deid.ground import purple_field
from cytoline.deid import marks
from cytoline.deid.network import EXACT, compiled, with_plain_end
from cytoline.deid.params import AnonymizeParams

PARAMS = AnonymizeParams.load()


@pytest.fixture(scope="module")
def reader() -> Any:
    """With its networks loaded."""
    loaded = marks._reader(PARAMS.text_scale)
    for load in (loaded._load_det_model, loaded._load_cls_model, loaded._load_rec_model):
        load()
    return loaded


@pytest.mark.parametrize("size", [(320, 256), (401, 403), (1200, 300)])
def test_the_map_is_the_same(reader: Any, size: tuple[int, int]) -> None:
    network = reader.text_det.session.model
    picture = reader.text_det.get_preprocess()(np.ascontiguousarray(purple_field(1, size)[:, :, ::-1]))
    maps = []
    for layers in (network, with_plain_end(network)):
        request = compiled(layers, EXACT)
        request.infer([picture])
        maps.append(request.get_output_tensor(0).data.copy())
    assert maps[0].shape == maps[1].shape
    assert maps[0].max() > 0.1, "there is something in it"
    assert np.abs(maps[0] - maps[1]).max() < 1e-6


def test_no_layer_at_the_end_reckons_at_the_full_size(reader: Any) -> None:
    kinds = [layer.get_type_name() for layer in with_plain_end(reader.text_det.session.model).get_ordered_ops()]
    assert "ConvolutionBackpropData" not in kinds
    assert kinds.count("DepthToSpace") == 1


def test_other_networks_stay_as_they_are(reader: Any) -> None:
    for network in (reader.text_cls.session.model, reader.text_rec.session.model):
        assert with_plain_end(network) is network
