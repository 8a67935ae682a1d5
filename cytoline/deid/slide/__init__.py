"""Slides (tiled TIFF, SVS) made anew without identifiers: ``recreate.recreate_slide`` and ``recreate.is_slide``."""
