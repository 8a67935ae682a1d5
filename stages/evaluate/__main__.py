"""``python -m stages.evaluate``: see ``stages.evaluate.evaluate``."""

from cytoline.command import run

if __name__ == "__main__":
    from stages.evaluate.evaluate import main

    run(main)
