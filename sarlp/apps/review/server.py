"""The review as a web page, for one person on this machine.

The page gets JSON from ``/api`` and pictures by the number of an item, never by a path. A decision is answered once it
is on disk. Nothing but a page of this very server can use it: it listens on the loopback interface, refuses names that
other sites may have given to that (DNS rebinding), and refuses what pages of other sites send.
"""

import socket
import webbrowser
from typing import Any

from sarlp.apps.review.decisions import NAMES
from sarlp.apps.review.maps import AttentionMaps, PictureError, encode, read_picture
from sarlp.apps.review.queue import Found, Selection
from sarlp.apps.review.session import Review
from sarlp.errors import UserError, UserValueError
from sarlp.labels import CODES

try:
    from flask import Flask, Response, abort, jsonify, render_template, request, send_file
    from werkzeug.exceptions import HTTPException
    from werkzeug.serving import WSGIRequestHandler, make_server
except ImportError:
    raise UserError("the review in a browser needs Flask: pip install 'sarlp[review]'") from None

HOST = '127.0.0.1'
_SHOWN = {  # by browsers; others are sent as JPEG
    '.bmp': 'image/bmp',
    '.jpeg': 'image/jpeg',
    '.jpg': 'image/jpeg',
    '.png': 'image/png',
    '.webp': 'image/webp',
}
_HEADERS = {
    'Content-Security-Policy': "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'",
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
}
_MAX_BODY = 1 << 16
_KEPT = 3600  # seconds that a browser keeps pictures; the page asks for others after every start of the server


def create_app(review: Review, port: int, maps: AttentionMaps | None = None, no_maps: str = 'switched off') -> Flask:
    """The web application.

    Args:
        review: open for writing.
        port: that browsers reach it by, on ``localhost`` or ``127.0.0.1``.
        maps: None to show plain images only.
        no_maps: why, for the page.
    """
    app = Flask(__name__)
    app.config['MAX_CONTENT_LENGTH'] = _MAX_BODY
    hosts = {f'{name}:{port}' for name in ('localhost', HOST)} | ({'localhost', HOST} if port == 80 else set())

    @app.before_request
    def refuse_others() -> None:
        if request.headers.get('Host') not in hosts:
            abort(403, f'this review is at http://{HOST}:{port} only')
        if request.method in ('GET', 'HEAD'):
            return
        # a browser says where a request comes from; programs, which need no page to do harm, may leave it out
        origin = request.headers.get('Origin')
        foreign = request.headers.get('Sec-Fetch-Site', 'same-origin') != 'same-origin'
        if foreign or (origin is not None and origin != f'http://{request.host}'):
            abort(403, 'the request comes from a page of another site')
        if request.mimetype != 'application/json':
            abort(415, 'expected application/json')

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.update(_HEADERS)
        if not response.cache_control.max_age:
            response.headers['Cache-Control'] = 'no-store'
        return response

    @app.errorhandler(Exception)
    def as_json(error: Exception) -> tuple[Response, int]:
        if isinstance(error, HTTPException):
            return jsonify(error=error.description), error.code or 500
        if isinstance(error, UserError):
            return jsonify(error=str(error)), 404 if isinstance(error, PictureError) else 400
        if not isinstance(error, OSError):  # a bug
            app.logger.exception('%s %s', request.method, request.path)
        return jsonify(error=f'{type(error).__name__}: {error}'), 500

    def shown(found: Found, selection: Selection) -> dict[str, Any]:
        """A found item as the page wants it, and its place."""
        if found.item is not None:
            review.queue.look_at(found.item)  # from now on it keeps its place
        item = None if found.item is None else _item_json(review, found.item)
        after = None if item is None else review.queue.find(selection, found.item, 1).item
        return {'item': item, 'place': found.place, 'total': found.total, 'next': after}

    def progress(name: str) -> dict[str, Any]:
        """After a decision on a class."""
        counts = {name: review.queue.progress_of(name)}
        return {'reviewed': review.queue.reviewed(), 'undoable': review.log.undoable, 'progress': counts}

    @app.get('/')
    def page() -> str:
        return render_template('review.html', name=review.csv_file.name, learning=review.learning)

    @app.get('/api/review')
    def overview() -> dict[str, Any]:
        return {
            'name': review.csv_file.name,
            'log': str(review.log.path),
            'out_dir': str(review.out_dir),
            'total': len(review.queue),
            'reviewed': review.queue.reviewed(),
            'undoable': review.log.undoable,
            'classes': [{'name': name, 'counts': counts} for name, counts in review.queue.progress().items()],
            'no_maps': no_maps if maps is None else None,
            'known_missing': review.known_missing,
        }

    @app.get('/api/curve')
    def curve() -> dict[str, Any]:
        points = [*review.curve, review.point()]
        return {
            'points': [{'answers': answers, 'filled': filled} for answers, filled in points],
            'blanks': review.queue.blanks()[1],
            'precision': review.record.calibration.precision,
            'learning': review.learning_status,
        }

    @app.get('/api/item')
    def item() -> dict[str, Any]:
        selection = _selection(request.args)
        at = request.args.get('at')
        step = _whole(request.args.get('step', '0'), 'step')
        if step not in (-1, 0, 1):
            raise UserValueError(f'step must be -1, 0 or 1, got {step}')
        found = review.queue.find(selection, None if at is None else _index(review, _whole(at, 'at')), step)
        return shown(found, selection)

    @app.post('/api/decide')
    def decide() -> dict[str, Any]:
        body = _body('item', 'image', 'class', 'decision', 'selection')
        index = _index(review, body['item'])
        own = review.queue.items[index]
        if own.pair != (body['image'], body['class']):
            abort(409, 'the table of labels has changed since this page was opened; reload the page')
        decision = body['decision']
        if decision is not None and (not isinstance(decision, str) or decision not in CODES):
            raise UserValueError(f'decision must be one of {", ".join(CODES)} or null, got {decision!r}')
        selection = _selection(body['selection'])
        review.decide(index, None if decision is None else CODES[decision])
        saved = {'saved': _item_json(review, index), **progress(own.cls)}
        return saved | shown(review.queue.find(selection, index, 1), selection)

    @app.post('/api/undo')
    def undo() -> dict[str, Any]:
        body = _body('undoable', 'selection')
        selection = _selection(body['selection'])
        if type(body['undoable']) is not int:
            raise UserValueError(f'undoable must be a whole number, got {body["undoable"]!r}')
        done, index = review.undo(body['undoable'])
        if not done:
            abort(409, 'there is nothing to undo, or something was decided elsewhere in the meantime; reload the page')
        if index is None:
            return {'item': None, 'undoable': review.log.undoable}
        return progress(review.queue.items[index].cls) | shown(review.queue.find(selection, index), selection)

    @app.post('/api/export')
    def export() -> dict[str, Any]:
        body = _body('reviewed_only')
        if type(body['reviewed_only']) is not bool:
            raise UserValueError(f'reviewed_only must be true or false, got {body["reviewed_only"]!r}')
        exported = review.export(reviewed_only=body['reviewed_only'])
        files = {name: str(path.absolute()) for name, path in exported.files.items()}
        return exported._asdict() | {'files': files}

    @app.get('/image/<int:index>')
    def image(index: int) -> Response:
        path = review.image_path(review.queue.items[_index(review, index)].image)
        if not path.is_file():
            raise PictureError(f'{path}: the image is missing')
        kind = _SHOWN.get(path.suffix.lower())
        if kind is None:
            return _picture(encode(read_picture(path)))
        response = send_file(path, mimetype=kind, max_age=_KEPT)
        response.cache_control.private, response.cache_control.public = True, False
        return response

    @app.get('/map/<int:index>')
    def attention_map(index: int) -> Response:
        item = review.queue.items[_index(review, index)]
        if maps is None:
            raise PictureError(no_maps)
        return _picture(maps.picture(item.image, review.image_path(item.image), item.cls))

    return app


def serve(
    review: Review,
    port: int = 8000,
    maps: AttentionMaps | None = None,
    no_maps: str = 'switched off',
    open_browser: bool = False,
) -> None:
    """Serve a review until Ctrl-C. Port 0 takes a free one.

    Raises:
        UserError: the port is taken.
    """

    try:
        # make_server ends the process where the port is taken, so it is given a socket that has it
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise UserError(
            f'port {port} of {HOST} can not be used ({error.strerror}); choose another with --port'
        ) from None
    with listening:
        port = listening.getsockname()[1]
        app = create_app(review, port, maps, no_maps)
        server = make_server(HOST, port, app, threaded=True, request_handler=_Quiet, fd=listening.fileno())
    address = f'http://{HOST}:{port}'
    # at once, also into a pipe, so that whoever started this can wait for it
    print(f'review of {review.csv_file}: {address} (Ctrl-C ends it; decisions are in {review.log.path})', flush=True)
    if open_browser:
        webbrowser.open(address)
    server.serve_forever()  # which returns at Ctrl-C


class _Quiet(WSGIRequestHandler):
    """Without a line for every picture."""

    def log_request(self, *_: Any) -> None:
        pass


def _picture(content: bytes) -> Response:
    response = Response(content, mimetype='image/jpeg')
    response.cache_control.private, response.cache_control.max_age = True, _KEPT
    return response


def _item_json(review: Review, index: int) -> dict[str, Any]:
    item = review.queue.items[index]
    return {
        'index': index,
        'image': item.image,
        'class': item.cls,
        'probability': item.probability,
        'kind': item.kind,
        'suggestion': NAMES[item.suggestion],
        'label': NAMES[item.label],
        'decision': NAMES[review.queue.decision(index)],
        'known': [{'class': cls, 'label': NAMES[label], 'reviewed': by} for cls, label, by in review.known(index)],
    }


def _body(*keys: str) -> dict[str, Any]:
    body = request.get_json()
    if not isinstance(body, dict) or body.keys() != set(keys):
        raise UserValueError(f'expected an object with {", ".join(keys)}')
    return body


def _selection(given: Any) -> Selection:
    """Of the words of an address, or of an object; what is left out, empty or null selects everything."""
    names = {'class': 'cls', 'kind': 'kind', 'state': 'state', 'low': 'low', 'high': 'high', 'order': 'order'}
    if not hasattr(given, 'get'):
        raise UserValueError('selection must be an object')
    values: dict[str, Any] = {}
    for key, name in names.items():
        value = given.get(key)
        if value is None or value == '':
            continue
        if name in ('low', 'high'):
            try:
                value = float(value)
            except (TypeError, ValueError):
                raise UserValueError(f'{key} must be a number from 0 to 1, got {value!r}') from None
        elif not isinstance(value, str):
            raise UserValueError(f'{key} must be a text, got {value!r}')
        values[name] = value
    return Selection(**values)


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserValueError(f'{name} must be a whole number, got {text!r}') from None


def _index(review: Review, index: Any) -> int:
    if type(index) is not int or not 0 <= index < len(review.queue):
        abort(404, f'there is no item {index!r}; the items are 0 to {len(review.queue) - 1}')
    return index
