"""Time of the Triton kernels of the grid of tanh over the sizes of their tiles, for the constants in their module.

    python benchmarks/tanh_grid_tiles.py --batch 52 --classes 80 --json tiles.json

For each kernel the fastest is named. The first row of each is the present constant. A GPU is needed; on a machine
without one, TRITON_INTERPRET=1 and small sizes show that the script works.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from sarlp.models import tanh_grid_triton as kernels

# tokens, classes, width, warps; width of 32 lets a warp read a whole line of memory
CANDIDATES = [
    (16, 16, 16, 8),
    (8, 16, 32, 4),
    (16, 8, 32, 4),
    (8, 8, 64, 4),
    (16, 16, 32, 8),
    (32, 8, 16, 4),
    (8, 8, 32, 4),
]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=52, help='images; default: %(default)s')
    parser.add_argument('--places', type=int, default=196, help='tokens of an image; default: %(default)s')
    parser.add_argument('--classes', type=int, default=80, help='default: %(default)s')
    parser.add_argument('--width', type=int, default=1024, help='of the attention; default: %(default)s')
    parser.add_argument('--dtypes', nargs='+', default=['bfloat16', 'float32'], help='default: bfloat16 float32')
    parser.add_argument('--device', default='cuda', help='default: %(default)s')
    parser.add_argument('--repeats', type=int, default=10, help='timed calls; default: %(default)s')
    parser.add_argument('--seconds', type=float, default=40, help='no new row after these; default: %(default)s')
    parser.add_argument('--json', help='write the rows to this file, each as soon as it is there')
    return parser.parse_args()


def timed(call, device: str, repeats: int) -> float:
    """Median milliseconds."""
    taken = []
    for turn in range(repeats + 2):
        if device.startswith('cuda'):
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if device.startswith('cuda'):
            torch.cuda.synchronize()
        if turn >= 2:
            taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def main() -> None:
    args = parse_args()
    began = time.monotonic()
    rows = []
    for dtype in (getattr(torch, name) for name in args.dtypes):
        torch.manual_seed(0)
        u = torch.randn(args.batch, args.places, args.width, device=args.device).to(dtype)
        v = torch.randn(1, args.classes, args.width, device=args.device).to(dtype)
        w = torch.randn(args.width, device=args.device)
        grad = torch.randn(args.batch, args.places, args.classes, device=args.device)
        calls = {
            'FORWARD': lambda u=u, v=v, w=w: kernels.forward(u, v, w),
            'BACKWARD_TOKEN': lambda grad=grad, u=u, v=v, w=w: kernels.backward_token(grad, u, v, w),
            'BACKWARD_CLASS': lambda grad=grad, u=u, v=v, w=w: kernels.backward_class(grad, u, v, w),
        }
        for name, call in calls.items():
            present = tuple(getattr(kernels, name).values())
            for tile in dict.fromkeys([present, *CANDIDATES]):
                if time.monotonic() - began > args.seconds and tile != present:
                    continue
                setattr(kernels, name, dict(zip(('TILE_P', 'TILE_C', 'TILE_A', 'num_warps'), tile, strict=True)))
                row = {'kernel': name, 'dtype': str(dtype), 'tile': tile}
                try:
                    row['ms'] = timed(call, args.device, args.repeats)
                except Exception as error:  # too many registers, say; the others are worth having
                    row['error'] = f'{type(error).__name__}: {error}'[:500]
                rows.append(row)
                print(row)
                if args.json:
                    Path(args.json).write_text(json.dumps(rows, indent=1))
            setattr(kernels, name, dict(zip(('TILE_P', 'TILE_C', 'TILE_A', 'num_warps'), present, strict=True)))
            mine = [row for row in rows if row['kernel'] == name and row['dtype'] == str(dtype) and 'ms' in row]
            if mine:
                best = min(mine, key=lambda row: row['ms'])
                print(f'{name}, {dtype}: {best["tile"]} takes {best["ms"]:.3f} ms, the present {mine[0]["ms"]:.3f} ms')


if __name__ == '__main__':
    main()
