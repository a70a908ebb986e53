"""What a user can put right: shown as one line, never as a traceback."""

from __future__ import annotations


class Mistake(Exception):
    """The message says what is wrong and, where it is known, what to do."""
