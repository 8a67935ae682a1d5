"""A Papanicolaou-like data set that is invented down to the last pixel, so that the pipeline can be tried by anybody.

Rendering is here; the answer key is in ``cytoline.phantom.answer_key``, which no stage may import.
"""

from cytoline.phantom.dataset import render_phantom
from cytoline.phantom.spec import PhantomSpec

__all__ = ["PhantomSpec", "render_phantom"]
