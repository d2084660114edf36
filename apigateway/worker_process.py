"""`python -m apigateway.worker_process DESCRIPTOR`: one of several workers. Only a supervisor begins it.

DESCRIPTOR: of its end of the control channel.
"""

from __future__ import annotations

import gc
import signal
import socket
import sys
from typing import Any

from twisted.logger import globalLogBeginner, textFileLogObserver

from apigateway.transport import reactor as native_reactor


def main(descriptor: int) -> None:
    """Run until the supervisor says otherwise, or is gone. Exits with 1 where it could not start."""
    # What is imported and built stays: until it serves, looking for garbage finds none.
    gc.disable()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    native_reactor.install()
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    # Both only now: whatever they import may ask for it.
    from twisted.internet import reactor as installed

    from apigateway.supervisor.working import WorkerProcess

    end = socket.socket(fileno=descriptor)
    end.set_inheritable(False)
    reactor: Any = installed
    process = WorkerProcess(reactor)
    native_reactor.call_in_loop(reactor, process.begin, end)
    reactor.run(installSignalHandlers=False)
    sys.exit(process.status)


if __name__ == "__main__":
    main(int(sys.argv[1]))
