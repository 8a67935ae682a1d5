"""Makes MMDetection and MMPretrain importable where mmcv has no compiled operations.

mmcv's C++ sources do not compile against the PyTorch of the lock file, and `mmdet.models` cannot be
imported without a module `mmcv._ext`.  ``register()`` puts one there whose functions stand on torchvision
(``cytoline.mmcv_ops``).  A compiled `mmcv._ext`, where there is one, is left alone.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType

from cytoline.errors import CytolineError

EXTENSION = "mmcv._ext"


class TorchvisionExtension(ModuleType):
    """A stand-in for the compiled `mmcv._ext`.

    mmcv asks at import time for more than a hundred functions and uses a handful, so those that are not
    provided exist too and fail by name when they are called.
    """

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name.startswith("_"):  # Python itself asks for __path__, __file__, __wrapped__ ...
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> object:
            raise CytolineError(
                f"the configured model calls the mmcv operation `{name}`, which cytoline does not provide",
                "choose one of the configurations under configs/, or install an onedl-mmcv built with its compiled "
                "operations (they are used as soon as they are there)",
            )

        missing.__name__ = name
        return missing


def has_compiled_extension() -> bool:
    """Whether mmcv was installed with compiled operations.  Does not import mmcv."""
    mmcv = find_spec("mmcv")
    if mmcv is None or mmcv.submodule_search_locations is None:
        return False
    return PathFinder.find_spec(EXTENSION, list(mmcv.submodule_search_locations)) is not None


def register() -> None:
    """Provide `mmcv._ext`; call it before the first import of mmdet or `mmcv.ops`.  Calling it again is harmless."""
    if EXTENSION in sys.modules or has_compiled_extension():
        return
    from cytoline import mmcv_ops

    module = TorchvisionExtension(EXTENSION, mmcv_ops.__doc__)
    # mmcv.utils.check_ops_exist and importlib.util.find_spec refuse a loaded module without a spec.
    module.__spec__ = ModuleSpec(EXTENSION, loader=None, origin=mmcv_ops.__file__)
    for name in mmcv_ops.__all__:
        setattr(module, name, getattr(mmcv_ops, name))
    sys.modules[EXTENSION] = module


@contextmanager
def quiet() -> Iterator[None]:
    """Import and build OpenMMLab models without what they announce about services that are not used."""
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    with redirect_stdout(io.StringIO()):
        yield
