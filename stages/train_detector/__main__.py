"""``python -m stages.train_detector``: see ``stages.train_detector.train``."""

import signal

from cytoline.command import run
from cytoline.compute import on_every_gpu, with_roomy_allocator

if __name__ == "__main__":
    # PyTorch and OpenMMLab take seconds to load. Nothing is written then, so until ``run`` takes over, Ctrl-C ends
    # the process at once and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    on_every_gpu()
    with_roomy_allocator()
    from stages.train_detector.train import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run(main)
