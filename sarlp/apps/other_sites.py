"""Requests that a page of another site makes to a server on this machine."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from werkzeug import Request


def is_of_other_site(request: 'Request') -> bool:
    """Whether a browser says that a request comes from elsewhere; programs, which need no page, leave that out."""
    origin = request.headers.get('Origin')
    elsewhere = request.headers.get('Sec-Fetch-Site', 'none') not in ('same-origin', 'none')
    return elsewhere or (origin is not None and origin != f'http://{request.host}')
