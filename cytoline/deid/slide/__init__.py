"""Slides (tiled TIFF, SVS) made anew without identifiers."""

from cytoline.deid.slide.limits import SlideLimits
from cytoline.deid.slide.outcome import SlideOutcome
from cytoline.deid.slide.recreate import is_slide, recreate_slide
from cytoline.deid.slide.refusal import CannotRecreate

__all__ = ["CannotRecreate", "SlideLimits", "SlideOutcome", "is_slide", "recreate_slide"]
