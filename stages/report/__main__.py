"""``python -m stages.report``: see ``stages.report.report``."""

from cytoline.command import run

if __name__ == "__main__":
    from stages.report.report import main

    run(main)
