"""Decoded once, bounded, and never changed by whoever got it."""

from __future__ import annotations

import numpy as np

from cytoline.decoded import DecodedImages

PICTURE = np.full((512, 512, 3), 7, dtype=np.uint8)  # 0.75 MB


def test_a_picture_is_decoded_once() -> None:
    images, calls = DecodedImages(), []
    for _ in range(3):
        assert (images.get("a", lambda: calls.append(1) or PICTURE) == PICTURE).all()
    assert len(calls) == 1


def test_writing_into_a_picture_does_not_change_the_next() -> None:
    images = DecodedImages()
    images.get("a", PICTURE.copy)[:] = 0
    assert (images.get("a", PICTURE.copy) == 7).all()


def test_memory_is_bounded_and_what_does_not_fit_is_decoded_again() -> None:
    images, calls = DecodedImages(megabytes=2), []
    for name in ("a", "b", "c", "a"):
        images.get(name, lambda name=name: calls.append(name) or PICTURE)
    assert calls == ["a", "b", "c", "a"]
    tiny, calls = DecodedImages(megabytes=0.1), []
    for _ in range(2):
        assert tiny.get("a", lambda: calls.append(1) or PICTURE).shape == PICTURE.shape
    assert len(calls) == 2
