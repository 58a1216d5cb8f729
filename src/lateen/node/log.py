"""Where daemons log: lines on standard error, which is a file. A full disk loses lines and nothing else: no task fails because it could not log.

Called by the daemons' beginnings, and by nobody else.
"""

import logging
import os

import structlog


class LossyLog:
    """A logger of whole lines. What could not be written is counted, and told with the first line that can be again."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._lost = descriptor, 0

    def msg(self, message: str) -> None:
        """One line. Never raises."""
        told = f"\n({self._lost} lines of this log were lost: there was no room)\n" if self._lost else ""
        data = f"{told}{message}\n".encode(errors="replace")
        try:
            written = os.write(self._descriptor, data)
        except OSError:
            written = 0
        if written == len(data):
            self._lost = 0
            return
        self._lost += 1

    log = debug = info = warning = warn = error = critical = fatal = exception = failure = err = msg


def configure(descriptor: int = 2) -> None:
    """Every `structlog` logger of this process writes to `descriptor`, from INFO up, with the time in UTC."""
    log = LossyLog(descriptor)
    processors = (structlog.processors.add_log_level, structlog.processors.TimeStamper("iso", utc=True), structlog.dev.ConsoleRenderer(colors=False))
    structlog.configure(logger_factory=lambda *_: log, processors=processors, wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
