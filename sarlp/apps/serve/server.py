"""The server: sockets, the token, and an end that loses nothing that was begun."""

import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sarlp.apps.serve.app import Limits, State, create_app
from sarlp.apps.serve.batches import Batcher
from sarlp.apps.serve.models import Model
from sarlp.errors import UserError, UserValueError

try:
    from waitress import create_server, wasyncore
except ImportError:
    raise UserError("predictions over HTTP need Flask and waitress: pip install 'sarlp[serve]'") from None

TOKEN = 'SARLP_SERVE_TOKEN'  # environment variable
LOOPBACK = ('127.0.0.1', 'localhost', '::1')
_SHORTEST = 16  # characters of a token
_GRACE = 30.0  # seconds that what is under way has at the end
_IDLE = 30  # seconds without a byte after which a connection is closed
_MORE = 8  # threads beside those that wait for the model: for /health, and to refuse


def read_token(file: str | os.PathLike | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token of a file, or of the environment variable :data:`TOKEN`; None where there is neither.

    Raises:
        UserError: the file is missing, or the token is too short or holds what a header can not.
    """
    if file is not None:
        where, token = str(file), Path(file).read_text('utf-8').strip()
    elif TOKEN in environment:
        where, token = f'the environment variable {TOKEN}', environment[TOKEN]
    else:
        return None
    if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or ' ' in token:
        raise UserError(
            f'{where}: expected a token of at least {_SHORTEST} letters, digits and signs, found {len(token)} '
            "characters; make one by python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token


def serve(
    model: Model,
    host: str = '127.0.0.1',
    port: int = 8080,
    token: str | None = None,
    limits: Limits | None = None,
    batch_size: int = 8,
    wait_ms: float = 5.0,
    queue: int = 32,
) -> None:
    """Serve predictions until SIGTERM or Ctrl-C, then finish what is under way. Port 0 takes a free one.

    Args:
        model: which.
        host: address to listen on; any but this machine's own needs a token.
        port: from 0 to 65535.
        token: of :func:`read_token`.
        limits: of a request.
        batch_size: images that go through the model together.
        wait_ms: milliseconds that an image waits for others to come along.
        queue: images that may be in work at a time; who comes then is answered 503.

    Raises:
        UserError: the port can not be used, no token for a host that others reach, or an option is out of range.
    """
    if host not in LOOPBACK and token is None:
        raise UserError(
            f'{host} can be reached by others, so a token is needed: in a file (--token-file), or in the environment '
            f'variable {TOKEN}'
        )
    for name, value in (('batch_size', batch_size), ('queue', queue)):
        if value < 1:
            raise UserValueError(f'{name} must be at least 1, got {value}')
    if not 0 <= port < 1 << 16:
        raise UserValueError(f'port must be from 0 to 65535, got {port}')
    if not 0 <= wait_ms <= 10_000:
        raise UserValueError(f'wait_ms must be from 0 to 10,000, got {wait_ms}')
    limits = limits or Limits()
    state = State()
    with (
        closing(_listen(host, port)) as listening,
        closing(Batcher(model, batch_size, wait_ms / 1e3, queue)) as batcher,
    ):
        port = listening.getsockname()[1]
        app = create_app(batcher, limits, state, _hosts(port) if host in LOOPBACK else None, token)
        server = create_server(
            app,
            sockets=[listening],
            threads=queue + _MORE,
            connection_limit=4 * (queue + _MORE),
            channel_timeout=_IDLE,
            cleanup_interval=_IDLE // 3,
            max_request_body_size=2 * limits.max_bytes,  # what is between is told how much it may be
            ident=None,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: state.stopping.set())
        shown = f'[{host}]' if ':' in host else host
        # at once, also into a pipe, so that whoever started this can wait for it
        print(f'{model.name} ({model.backend}): http://{shown}:{port} (Ctrl-C ends it)', flush=True)
        _run(server, state)
    print('stopped', flush=True)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f'port {port} of {host} can not be used ({error.strerror}); choose others by --host, --port'
        ) from None


def _hosts(port: int) -> frozenset[str]:
    names = ('127.0.0.1', 'localhost', '[::1]')
    return frozenset({f'{name}:{port}' for name in names} | ({*names} if port == 80 else set()))


def _run(server: Any, state: State) -> None:
    """The loop of waitress, left when all that was begun is answered, which its own is not."""
    sockets = server._map
    while not state.stopping.is_set():
        wasyncore.loop(timeout=0.5, map=sockets, use_poll=True, count=1)
    wasyncore.loop(timeout=0.0, map=sockets, use_poll=True, count=1)  # what has come already is let in
    wasyncore.dispatcher.close(server)  # nobody comes any more
    until = time.monotonic() + _GRACE
    while server.active_channels and time.monotonic() < until:
        for channel in [*server.active_channels.values()]:
            if not channel.requests and channel.request is None:
                channel.close_when_flushed = True
        wasyncore.loop(timeout=0.05, map=sockets, use_poll=True, count=1)
    server.task_dispatcher.shutdown()
    wasyncore.close_all(sockets)
