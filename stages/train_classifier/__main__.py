"""``python -m stages.train_classifier``: see ``stages.train_classifier.train``."""

from cytoline.command import run
from cytoline.compute import on_every_gpu, with_roomy_allocator

if __name__ == "__main__":
    on_every_gpu()
    with_roomy_allocator()
    from stages.train_classifier.train import main

    run(main)
