"""One room per DVC stage, named as in dvc.yaml."""

import signal
import sys

# ``python -m stages.NAME`` imports this first (argv[0] is "-m" until the stage is found).  PyTorch and OpenMMLab then
# take seconds to load.  Nothing is written in that time, so until ``cytoline.command.run`` takes over, Ctrl-C ends the
# process at once and without a traceback.  A process that was started deaf to Ctrl-C (SIG_IGN) stays so.
if sys.argv[:1] == ["-m"]:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Blocked by ``with_roomy_allocator`` over its restart.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
