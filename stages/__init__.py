"""One room per DVC stage, named as in dvc.yaml."""

import os
import signal
import sys

# PyTorch's threads by default wait for each other in a busy loop.  With anything else running on the same cores, a
# training step then took 5.3 s instead of 1.0; waiting asleep 2.8 s, and alone it costs a twentieth.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# ``python -m stages.NAME`` imports this first (argv[0] is "-m" until the stage is found).  PyTorch and OpenMMLab then
# take seconds to load.  Nothing is written in that time, so until ``cytoline.command.run`` takes over, Ctrl-C ends the
# process at once and without a traceback.  A process that was started deaf to Ctrl-C (SIG_IGN) stays so.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
