"""Errors that whoever runs sarlp can act upon."""


class UserError(Exception):
    """Bad input, not a bug: the message names the file, what was expected, what came, and what to do.

    Tools print the message alone, without a traceback; see :func:`sarlp.cli.friendly_errors`.
    """
