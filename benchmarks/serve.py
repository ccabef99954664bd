"""What `sarlp serve` bears: clients with good images, bad ones mixed in, for minutes; rates, latencies and memory.

    python benchmarks/serve.py --seconds 600 -- model.onnx
    python benchmarks/serve.py --clients 16 --photos data/photos -- CONFIG CHECKPOINT

What stands behind `--` is given to `sarlp serve`, which is started here on a free port. Each client keeps one
connection. A share of its requests is bad, of each kind in turn: a truncated JPEG, a text, an empty body, a PNG whose
header says 60,000 x 60,000 pixels, one that is no image by its content type, an option that there is not. Another
client sends slowly and hangs up half-way, again and again. An answer with another status than its kind must have is a
failure, and so is a server that does not end by SIGTERM; 503 is not, and is counted. Resident memory is read after a
warm-up of a tenth of the time, and at the end.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import psutil

from sarlp.commands.friendly import friendly_errors
from sarlp.errors import UserError
from sarlp.io.image_files import find_images

BUSY = 503


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=600, help='default: %(default)s')
    parser.add_argument('--clients', type=int, default=8, help='that send at a time; default: %(default)s')
    parser.add_argument('--bad', type=float, default=0.1, help='share of the requests; default: %(default)s')
    parser.add_argument('--photos', help='folder of images; default: some of 500 x 375 px, drawn here')
    parser.add_argument('--json', metavar='FILE', help='also write the figures to this file')
    parser.add_argument('serve', nargs='+', metavar='-- MODEL', help='arguments of sarlp serve, without --port')
    return parser.parse_args()


def photographs(folder: str | None) -> list[tuple[bytes, str]]:
    """Contents and content types."""
    if folder is not None:
        files = [Path(image.path) for image in find_images(folder)]
        kinds = {'.jpg': 'image/jpeg', '.jpeg': 'image/jpeg', '.png': 'image/png'}
        return [(file.read_bytes(), kinds[file.suffix.lower()]) for file in files if file.suffix.lower() in kinds]
    drawn = []
    for seed in range(32):
        grid = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
        image = cv2.resize(grid, (500, 375), interpolation=cv2.INTER_CUBIC)
        drawn.append((cv2.imencode('.jpg', image)[1].tobytes(), 'image/jpeg'))
    return drawn


def bad_requests(photo: bytes) -> list[tuple[str, str, bytes, str, int]]:
    """Name, address, body, content type, and the status that is right."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))

    header = struct.pack('>IIBBBBB', 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(bytes(1 << 16)))
    return [
        ('truncated', '/predict', photo[:400], 'image/jpeg', 400),
        ('text', '/predict', b'no image ' * 99, 'image/jpeg', 400),
        ('empty', '/predict', b'', 'image/jpeg', 400),
        ('bomb', '/predict', bomb, 'image/png', 400),
        ('content type', '/predict', photo, 'text/plain', 415),
        ('option', '/predict?colour=red', photo, 'image/jpeg', 400),
    ]


class Load:
    """Clients, and what they have seen."""

    def __init__(self, port: int, args: argparse.Namespace):
        self.port, self.args = port, args
        self.photos = photographs(args.photos)
        self.bad = itertools.cycle(bad_requests(self.photos[0][0]))
        self.until = time.monotonic() + args.seconds
        self.lock = threading.Lock()
        self.statuses: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.slow = 0

    def client(self, seed: int) -> None:
        draw = random.Random(seed)
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        while time.monotonic() < self.until:
            name, address, (content, kind), right = 'good', '/predict?top=5', draw.choice(self.photos), 200
            if draw.random() < self.args.bad:
                with self.lock:
                    name, address, content, kind, right = next(self.bad)
            started = time.perf_counter()
            try:
                connection.request('POST', address, content, {'Content-Type': kind})
                answer = connection.getresponse()
                body = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                with self.lock:
                    self.failures[f'{name}: {type(error).__name__}'] += 1
                connection.close()
                continue
            taken = time.perf_counter() - started
            with self.lock:
                self.statuses[answer.status] += 1
                if answer.status == BUSY:
                    pass
                elif answer.status != right or ('error' in body) != (right != 200):
                    self.failures[f'{name}: {answer.status}'] += 1
                elif right == 200:
                    self.latencies.append(taken)
            if answer.status == BUSY:
                time.sleep(float(answer.headers['Retry-After']))
        connection.close()

    def slow_client(self) -> None:
        content = self.photos[0][0]
        head = f'POST /predict HTTP/1.1\r\nHost: localhost:{self.port}\r\nContent-Length: {len(content)}\r\n\r\n'
        while time.monotonic() < self.until:
            with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', self.port)) as connection:
                connection.sendall(head.encode())
                for byte in content[:20]:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.25)
                self.slow += 1

    def run(self, process: psutil.Process) -> dict[str, float]:
        """Returns the figures."""
        workers = [threading.Thread(target=self.client, args=[seed]) for seed in range(self.args.clients)]
        workers.append(threading.Thread(target=self.slow_client))
        began = time.monotonic()
        for worker in workers:
            worker.start()
        time.sleep(self.args.seconds / 10)
        memory = [process.memory_info().rss]
        while any(worker.is_alive() for worker in workers):
            workers[0].join(5)
            memory.append(process.memory_info().rss)
        seconds = time.monotonic() - began
        p50, p99 = np.percentile(self.latencies, [50, 99])
        return {
            'seconds': round(seconds),
            'requests_per_s': round(sum(self.statuses.values()) / seconds, 1),
            'good_per_s': round(len(self.latencies) / seconds, 1),
            'p50_ms': round(1e3 * p50, 1),
            'p99_ms': round(1e3 * p99, 1),
            'max_ms': round(1e3 * max(self.latencies), 1),
            'rss_start_mb': round(memory[0] / 1e6, 1),
            'rss_end_mb': round(memory[-1] / 1e6, 1),
            'rss_max_mb': round(max(memory) / 1e6, 1),
            'slow_clients': self.slow,
        }


def main() -> None:
    args = parse_args()
    if not 0 <= args.bad < 1 or args.clients < 1 or args.seconds <= 0:
        raise UserError('--bad must be in [0, 1), --clients at least 1, --seconds positive')
    server = subprocess.Popen(
        [sys.executable, '-m', 'sarlp', 'serve', *args.serve, '--port', '0'], stdout=subprocess.PIPE, text=True
    )
    try:
        line = ''
        while 'http://' not in line:
            line = server.stdout.readline()  # type: ignore[union-attr]  # a pipe
            if not line:
                raise UserError('the server did not start, see above')
        print(line.strip(), flush=True)
        load = Load(int(line.partition('http://')[2].partition(' ')[0].rpartition(':')[2]), args)
        figures = load.run(psutil.Process(server.pid))
        server.send_signal(signal.SIGTERM)
        if server.wait(60):
            load.failures[f'the server ended with {server.returncode}'] += 1
    finally:
        server.kill()
    for name, value in figures.items():
        print(f'{name:<16}{value}')
    print('answers by status:', ', '.join(f'{status}: {number:,}' for status, number in sorted(load.statuses.items())))
    print('failures:', dict(load.failures) or 'none')
    if args.json:
        rows = {**figures, 'statuses': load.statuses, 'failures': load.failures}
        Path(args.json).write_text(json.dumps(rows, indent=1) + '\n')
    sys.exit(bool(load.failures))


if __name__ == '__main__':
    with friendly_errors():
        main()
