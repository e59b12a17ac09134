"""The project's logger, and what keeps secrets out of it and out of those of the HTTP libraries."""

from __future__ import annotations

import logging
import traceback

from pixverse_dagster.core.redaction import redact_text

_OURS = "pixverse_dagster"
_LIBRARIES = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks")
"""They log URLs and headers, with the signatures and keys in them."""


class RedactingFilter(logging.Filter):
    """Redacts every record of the loggers that it is on: its message, its error with all causes, its stack."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass, redacted."""
        record.msg, record.args = redact_text(record.getMessage()), ()
        if record.exc_info and record.exc_info[1] is not None:
            lines = traceback.format_exception(record.exc_info[1])
            # As text alone: another handler would format the error itself.
            record.exc_info, record.exc_text = None, redact_text("".join(lines)).rstrip()
        if record.stack_info:
            record.stack_info = redact_text(record.stack_info)
        return True


_FILTER = RedactingFilter()


def get_logger() -> logging.Logger:
    """The project's logger. Its records carry no secret that the process knows, and none that looks like one."""
    for name in (_OURS, *_LIBRARIES):
        logging.getLogger(name).addFilter(_FILTER)
    return logging.getLogger(_OURS)
