"""What a command says: in words on a terminal, as a JSON log line elsewhere."""

import shutil
import sys
import textwrap

import structlog

log = structlog.get_logger()


class Answer:
    """What was done: a sentence on a terminal, else a log line with the fields."""

    def __init__(self, event: str, sentence: str, **fields: object) -> None:
        self._event = event
        self._sentence = sentence
        self._fields = fields

    def say(self) -> None:
        log.info(self._event, **self._fields)  # which `run_job` mutes on a terminal
        say(self._sentence)


def say(sentence: str) -> None:
    """Say it on a terminal. Elsewhere log lines say it."""
    if sys.stdout.isatty():
        sys.stdout.write(wrapped(sentence) + "\n")


def answer_fault(event: str, fault: str, **fields: object) -> None:
    """Say what is wrong and what to do: on a terminal to stderr, else as a log line."""
    if sys.stderr.isatty():
        sys.stderr.write(wrapped(f"error: {fault}") + "\n")
    else:
        log.error(event, fault=fault, **fields)


def width() -> int:
    """Return the terminal's width; 80 where there is no terminal. COLUMNS replaces it."""
    return shutil.get_terminal_size((80, 24)).columns


def wrapped(text: str, *, indent: str = "") -> str:
    """Return the text in lines that fit the terminal. No id is split."""
    return textwrap.fill(
        text, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
