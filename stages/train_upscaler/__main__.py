"""``python -m stages.train_upscaler``: see ``stages.train_upscaler.train``."""

from cytoline.command import run
from cytoline.compute import with_roomy_allocator

if __name__ == "__main__":
    with_roomy_allocator()
    from stages.train_upscaler.train import main

    run(main)
