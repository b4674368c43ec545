"""A last net under the logs: what looks like a secret, or is one we know, never reaches a handler."""

import logging
import re
from collections.abc import Iterable

MASK = "[redacted]"
_SHAPES = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
    (re.compile(r"(?i)\b(authorization)(\"?'?\s*[=:]\s*\"?'?)[^\r\n\"',}]+"), rf"\1\2{MASK}"),  # scheme and credential
    (re.compile(r"(?i)\b(password|passwd|secret|api|api_key)(\"?'?\s*[=:]\s*\"?'?)[^\s&\"',}]+"), rf"\1\2{MASK}"),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), rf"\1{MASK}@"),  # in an address, as it is written there: p%40ss
)
_KNOWN_MINIMUM = 6  # shorter values would blank ordinary words


class Redactor(logging.Filter):
    """Belongs on handlers: a logger's own filter does not see what its children log."""

    def __init__(self) -> None:
        """Knows no value yet."""
        super().__init__()
        self._known: set[str] = set()

    def learn(self, values: Iterable[str]) -> None:
        """Values that are secrets, whatever they look like."""
        self._known.update(value for value in values if len(value) >= _KNOWN_MINIMUM)

    def clean(self, text: str) -> str:
        """The text without secrets."""
        for value in self._known:
            text = text.replace(value, MASK)
        for shape, mask in _SHAPES:
            text = shape.sub(mask, text)
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean the message and the traceback of one record; it always passes."""
        record.msg = self.clean(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.clean(record.exc_text)
        return True


redactor = Redactor()


def guard_handlers() -> None:
    """Put the net under every handler that exists now; safe to repeat."""
    loggers = [
        logging.getLogger(),
        *(item for item in logging.Logger.manager.loggerDict.values() if isinstance(item, logging.Logger)),
    ]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if redactor not in handler.filters:
            handler.addFilter(redactor)
