"""The review as a web page, for the people on this machine.

The page gets JSON from ``/api`` and pictures by the number of an item, never by a path. A decision is answered once it
is on disk. Two people may answer at the same time: who has not seen what the other one decided is refused and told.
Nothing but a page of this very server can use it: it listens on the loopback interface, refuses names that
other sites may have given to that (DNS rebinding), and refuses what pages of other sites send.
"""

import dataclasses
import socket
import webbrowser
from typing import Any

from sarlp.apps.other_sites import is_of_other_site
from sarlp.apps.review.leases import Leases
from sarlp.apps.review.log_line import NAMES
from sarlp.apps.review.maps import AttentionMaps, PictureError, encode, read_picture
from sarlp.apps.review.queue import Found, Selection
from sarlp.apps.review.session import Conflict, Review
from sarlp.apps.review.thumbnails import Thumbnails
from sarlp.errors import UserError, UserValueError

try:
    from flask import Flask, Response, abort, jsonify, render_template, request, send_file
    from werkzeug.exceptions import HTTPException
    from werkzeug.serving import WSGIRequestHandler, make_server

    from sarlp.apps.review import fields
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
_MAX_BODY = 1 << 18
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
    leases, thumbnails = Leases(), Thumbnails()
    hosts = {f'{name}:{port}' for name in ('localhost', HOST)} | ({'localhost', HOST} if port == 80 else set())

    @app.before_request
    def refuse_others() -> None:
        if request.headers.get('Host') not in hosts:
            abort(403, f'this review is at http://{HOST}:{port} only')
        if request.method in ('GET', 'HEAD'):
            return
        if is_of_other_site(request):
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
        if isinstance(error, Conflict):
            return jsonify(error=str(error), conflicts=[_item_json(review, index) for index in error.items]), 409
        if isinstance(error, HTTPException):
            return jsonify(error=error.description), error.code or 500
        if isinstance(error, UserError):
            return jsonify(error=str(error)), 404 if isinstance(error, PictureError) else 400
        if not isinstance(error, OSError):  # a bug
            app.logger.exception('%s %s', request.method, request.path)
        return jsonify(error=f'{type(error).__name__}: {error}'), 500

    def shown(found: Found, selection: Selection) -> dict[str, Any]:
        """A found item as the page wants it, which is in front of whoever asks from now on, and its place."""
        item, after, client = None, None, fields.client()
        if found.item is not None:
            review.queue.look_at(found.item)  # from now on it keeps its place
            others = leases.of_others(client)
            item = _item_json(review, found.item) | {'known': _known_json(review, found.item)}
            item['elsewhere'] = found.item in others
            after = review.queue.find(selection, found.item, 1, others).item
        leases.take(client, () if found.item is None else [found.item])
        return {'item': item, 'place': found.place, 'total': found.total, 'next': after}

    def progress(*names: str) -> dict[str, Any]:
        """After decisions on classes."""
        counts = {name: review.queue.progress_of(name) for name in names}
        undoable = review.log.undoable(fields.client())
        overall = {'reviewed': review.queue.reviewed(), 'waiting': int(review.queue.waiting().sum())}
        return overall | {'undoable': undoable, 'progress': counts}

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
            'classes': [{'name': name, 'counts': counts} for name, counts in review.queue.progress().items()],
            **progress(),
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
        selection = fields.selection(request.args)
        at, step = fields.start(review), fields.argument('step', 0, range(-1, 2))
        return shown(review.queue.find(selection, at, step, leases.of_others(fields.client())), selection)

    @app.get('/api/grid')
    def grid() -> dict[str, Any]:
        selection = dataclasses.replace(fields.selection(request.args), state='open')
        if selection.cls is None:
            raise UserValueError('class must be one of the classes')
        at, step = fields.start(review), fields.argument('step', 0, range(2))
        number = fields.argument('number', 24, range(1, fields.MOST + 1))
        client = fields.client()
        page = review.queue.page(selection, at, step, number, leases.of_others(client))
        leases.take(client, page.items)
        for index in page.items:
            review.queue.look_at(index)
        return page._asdict() | {'items': [_item_json(review, index) for index in page.items]}

    @app.post('/api/decide')
    def decide() -> dict[str, Any]:
        body = fields.body('answer', 'selection')
        answer, selection, client = (
            fields.answer(review, body['answer']),
            fields.selection(body['selection']),
            fields.client(),
        )
        review.answer([answer], client)
        saved = {'saved': _item_json(review, answer.item), **progress(review.queue.items[answer.item].cls)}
        found = review.queue.find(selection, answer.item, 1, leases.of_others(client))
        return saved | shown(found, selection)

    @app.post('/api/answers')
    def decide_many() -> dict[str, Any]:
        answers = fields.answers(review, fields.body('answers')['answers'])
        review.answer(answers, fields.client())
        return progress(*{review.queue.items[answer.item].cls for answer in answers})

    @app.post('/api/undo')
    def undo() -> dict[str, Any]:
        body = fields.body('undoable', 'selection')
        selection = fields.selection(body['selection'])
        items = review.undo(fields.number(body['undoable'], 'undoable'), fields.client())
        if items is None:
            abort(409, 'there is nothing of yours to undo, or it is undone already; reload the page')
        if not items:
            return progress() | {'item': None, 'undone': []}
        counts = progress(*{review.queue.items[index].cls for index in items})
        return counts | {'undone': items} | shown(review.queue.find(selection, items[0]), selection)

    @app.post('/api/export')
    def export() -> dict[str, Any]:
        body = fields.body('reviewed_only')
        if type(body['reviewed_only']) is not bool:
            raise UserValueError(f'reviewed_only must be true or false, got {body["reviewed_only"]!r}')
        exported = review.export(reviewed_only=body['reviewed_only'])
        files = {name: str(path.absolute()) for name, path in exported.files.items()}
        return exported._asdict() | {'files': files}

    @app.get('/image/<int:index>')
    def image(index: int) -> Response:
        path = review.image_path(review.queue.items[fields.item(review, index)].image)
        if not path.is_file():
            raise PictureError(f'{path}: the image is missing')
        kind = _SHOWN.get(path.suffix.lower())
        if kind is None:
            return _picture(encode(read_picture(path)))
        response = send_file(path, mimetype=kind, max_age=_KEPT)
        response.cache_control.private, response.cache_control.public = True, False
        return response

    @app.get('/thumb/<int:index>')
    def thumbnail(index: int) -> Response:
        item = review.queue.items[fields.item(review, index)]
        return _picture(thumbnails.picture(review.image_path(item.image)))

    @app.get('/map/<int:index>')
    def attention_map(index: int) -> Response:
        item = review.queue.items[fields.item(review, index)]
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
    held = review.log.held(item.pair)  # once: an answer that comes meanwhile must not be "seen" and yet not shown
    return {
        'index': index,
        'image': item.image,
        'class': item.cls,
        'probability': item.probability,
        'kind': item.kind,
        'suggestion': NAMES[item.suggestion],
        'label': NAMES[item.label],
        'evidence': item.evidence,
        'decision': NAMES[held.decision],
        'seen': held.answer,
    }


def _known_json(review: Review, index: int) -> list[dict[str, Any]]:
    return [{'class': cls, 'label': NAMES[label], 'reviewed': by} for cls, label, by in review.known(index)]
