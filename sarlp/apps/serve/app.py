"""The web application: what is asked, what is refused, what is answered. Every answer is JSON.

Images that were read are answered as ``sarlp predict`` writes them; an error says what to do.
"""

import base64
import hmac
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sarlp.apps.other_sites import is_of_other_site
from sarlp.apps.serve.batches import Batcher, BusyError
from sarlp.apps.serve.images import ImageRefused, read_image
from sarlp.apps.serve.models import Model, Seen
from sarlp.errors import UserError, UserValueError, check_threshold
from sarlp.io.json_file import plain, rounded
from sarlp.labels import choose

try:
    from flask import Flask, Response, abort, jsonify, request
    from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
except ImportError:
    raise UserError("predictions over HTTP need Flask and waitress: pip install 'sarlp[serve]'") from None

OPTIONS = ('top', 'threshold', 'maps')
_HEADERS = {'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff'}


@dataclass(frozen=True)
class Limits:
    """Bounds of a request.

    Args:
        max_bytes: of an upload, all of its images together.
        max_pixels: of an image, width times height.
        max_images: in an upload.
        decoders: threads that decode, each of which may hold an image of ``max_pixels``.
    """

    max_bytes: int = 32_000_000
    max_pixels: int = 50_000_000
    max_images: int = 16
    decoders: int = 2

    def __post_init__(self):
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise UserValueError(f'{name} must be a whole number of at least 1, got {value!r}')


@dataclass(frozen=True)
class Asked:
    """Options of a request: how many of the highest scores, None for all; a threshold of all classes; maps too."""

    top: int | None
    threshold: float | None
    maps: bool


class State:
    """What ``/health`` tells, and whether the server is about to stop."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.stopping = threading.Event()
        self._answers: Counter[int] = Counter()
        self._lock = threading.Lock()

    def count(self, status: int) -> None:
        with self._lock:
            self._answers[status] += 1

    def answers(self) -> dict[str, int]:
        """Answers by status."""
        with self._lock:
            return {str(status): number for status, number in sorted(self._answers.items())}


def create_app(
    batcher: Batcher,
    limits: Limits,
    state: State | None = None,
    hosts: frozenset[str] | None = None,
    token: str | None = None,
) -> Flask:
    """The web application.

    Args:
        batcher: of the model.
        limits: of a request.
        state: shared with who stops the server.
        hosts: values of the header ``Host`` that are taken, against names that other sites may have given to this
            machine (DNS rebinding); None takes all.
        token: that ``Authorization: Bearer TOKEN`` must have; None asks for none.

    Raises:
        UserError: a request could hold more images than may be in work.
    """
    if limits.max_images > batcher.limit:
        raise UserValueError(
            f'{limits.max_images} images in a request, but at most {batcher.limit} in work; raise the latter'
        )
    app = Flask('sarlp.serve', static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's own provider: classes come highest first
    app.config['MAX_CONTENT_LENGTH'] = limits.max_bytes
    app.config['MAX_FORM_PARTS'] = limits.max_images + len(OPTIONS)
    state = state or State()
    decoders = ThreadPoolExecutor(limits.decoders, thread_name_prefix='decode')
    model = batcher.model

    @app.before_request
    def refuse_others() -> None:
        if hosts is not None and request.headers.get('Host') not in hosts:
            abort(403, f'this server is reached as {" or ".join(sorted(hosts))} only')
        if token is not None:
            given = request.headers.get('Authorization', '').removeprefix('Bearer ')
            if not hmac.compare_digest(given.encode(), token.encode()):
                abort(401, 'give the token of this server as the header Authorization: Bearer TOKEN')
        if is_of_other_site(request):
            abort(403, 'the request comes from a page of another site')

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers.update(_HEADERS)
        if response.status_code == 401:
            response.headers['WWW-Authenticate'] = 'Bearer'
        state.count(response.status_code)
        return response

    @app.errorhandler(Exception)
    def as_json(error: Exception) -> tuple[Response, int] | tuple[Response, int, dict[str, str]]:
        if isinstance(error, BusyError):
            return jsonify(error=str(error)), 503, {'Retry-After': str(error.seconds)}
        if isinstance(error, RequestEntityTooLarge):
            return jsonify(error=_too_large(limits)), 413
        if isinstance(error, HTTPException):
            return jsonify(error=error.description), error.code or 500
        if isinstance(error, UserError):
            return jsonify(error=str(error)), 400
        app.logger.exception('%s %s', request.method, request.path)  # a bug
        return jsonify(error=f'{type(error).__name__}: see the log of the server'), 500

    @app.get('/health')
    def health() -> tuple[dict[str, Any], int]:
        ready = not state.stopping.is_set()
        return {
            'ready': ready,
            'model': model.name,
            'backend': model.backend,
            'classes': len(model.classes),
            'calibrated': model.calibrated,
            'uptime_s': round(time.monotonic() - state.started, 1),
            'answers': state.answers(),
            'images': batcher.images,
            'batches': batcher.batches,
            'in_work': batcher.waiting,
        }, 200 if ready else 503

    @app.get('/classes')
    def classes() -> dict[str, Any]:
        pairs = zip(model.classes, plain(model.thresholds), strict=True)
        return {
            'calibrated': model.calibrated,
            'classes': [{'name': name, 'threshold': threshold} for name, threshold in pairs],
        }

    @app.post('/predict')
    def predict() -> tuple[dict[str, Any], int]:
        uploads = list(_uploads())
        asked = _options()
        if not uploads:
            raise UserValueError('no image in the request; send one as the body, or some as files of a form')
        if len(uploads) > limits.max_images:
            abort(413, _too_large(limits))

        def read(upload: tuple[str, Any]) -> Any:
            name, stream = upload
            try:
                return read_image(model, stream.read(), name, limits.max_pixels)
            except ImageRefused as error:
                return error

        with batcher.room_for(len(uploads)):
            read_ones = list(decoders.map(read, uploads))
            good = [image for image in read_ones if not isinstance(image, ImageRefused)]
            found = iter(batcher.predict(good, asked.maps))
        answers, errors = [], []
        for (name, _), image in zip(uploads, read_ones, strict=True):
            if isinstance(image, ImageRefused):
                answers.append({'image': name, 'error': str(image)})
                errors.append(str(image))
            else:
                answers.append({'image': name, **_answer(model, next(found), asked)})
        body = {'model': model.name, 'calibrated': model.calibrated, 'images': answers}
        return ({'error': '; '.join(errors), **body}, 400) if errors else (body, 200)

    return app


def _too_large(limits: Limits) -> str:
    return (
        f'at most {limits.max_images} images and {limits.max_bytes:,} bytes in a request; send smaller images, or '
        'fewer at a time'
    )


def _uploads() -> Iterator[tuple[str, Any]]:
    """Names and streams of the images of the request."""
    kind = request.mimetype
    if kind == 'multipart/form-data':
        for index, (_, file) in enumerate(request.files.items(multi=True)):
            yield file.filename or str(index), file.stream
    elif kind.startswith('image/') or kind == 'application/octet-stream':
        yield '0', request.stream
    else:
        abort(
            415,
            f'the content type is {kind or "not given"}; send an image as image/jpeg (or another image/...), or some '
            'as files of a multipart/form-data',
        )


def _options() -> Asked:
    given = [*request.args.items(multi=True), *request.form.items(multi=True)]
    options = dict(given)
    strange = sorted(options.keys() - set(OPTIONS))
    if strange or len(options) < len(given):
        found = f'got {", ".join(strange)}' if strange else 'one is there twice'
        raise UserValueError(f'the options are {", ".join(OPTIONS)}, each once; {found}')
    top, maps = options.get('top'), options.get('maps', '0')
    if top is not None and not (top.isascii() and top.isdigit() and int(top)):
        raise UserValueError(f'top must be a whole number of at least 1, got {top!r}')
    if maps not in ('0', '1'):
        raise UserValueError(f'maps must be 0 or 1, got {maps!r}')
    threshold = None if 'threshold' not in options else check_threshold(options['threshold'])
    return Asked(None if top is None else int(top), threshold, maps == '1')


def _answer(model: Model, seen: Seen, asked: Asked) -> dict[str, Any]:
    thresholds = model.thresholds if asked.threshold is None else np.full(len(model.classes), asked.threshold)
    chosen = choose(seen.scores, thresholds, model.classes)
    if asked.top is None:
        scores = dict(zip(model.classes, seen.scores.tolist(), strict=True))
    else:
        best = np.argsort(-seen.scores, kind='stable')[: asked.top]
        scores = {model.classes[index]: float(seen.scores[index]) for index in best}
    answer: dict[str, Any] = {
        name: {cls: rounded(score) for cls, score in values.items()}
        for name, values in (('classes', chosen), ('scores', scores))
    }
    if asked.maps and seen.maps is not None:
        place = {name: index for index, name in enumerate(model.classes)}
        wanted = chosen if asked.top is None else scores
        answer['maps'] = {name: _png(seen.maps[place[name]]) for name in wanted}
    return answer


def _png(places: np.ndarray) -> str:
    """(H, W) of a map as a grey PNG of as many pixels, the largest of which is 255, in base64."""
    grey = np.rint(255 * (places / places.max())).astype(np.uint8)
    return base64.b64encode(cv2.imencode('.png', grey)[1].tobytes()).decode('ascii')
