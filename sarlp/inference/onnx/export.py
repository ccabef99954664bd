"""A checkpoint to an ONNX file that is known to give the same."""

import copy
import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from sarlp.engine import find_checkpoint, load_config
from sarlp.errors import UserError, UserValueError
from sarlp.inference import Predictor, init_model, prepare_for_inference
from sarlp.inference.inferencer import read_calibration
from sarlp.inference.onnx.check import largest_differences, latencies, open_session
from sarlp.inference.onnx.facts import metadata, read_preprocessing
from sarlp.inference.onnx.graph import Deployed, halve_weights, to_onnx
from sarlp.inference.onnx.size import set_image_size, warn_of_size
from sarlp.io.files import atomic_write
from sarlp.io.outputs import check_output
from sarlp.models.precision import precision_of

OPSET = 18  # the oldest that torch exports to without converting, which most runtimes know
TOLERANCE = {False: 1e-4, True: 1e-2}  # of scores, maps and probabilities, with weights in float32 and in float16


def require_packages() -> None:
    """Raises: UserError, onnx, onnxruntime or onnxscript is not installed, or torch is too old."""
    missing = [name for name in ('onnx', 'onnxruntime', 'onnxscript') if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"export to ONNX needs {' and '.join(missing)}, not installed here: pip install 'sarlp[onnx]'")
    if tuple(map(int, torch.__version__.split('.')[:2])) < (2, 6):
        raise UserError(f'export to ONNX needs torch 2.6 or newer, and this is {torch.__version__}')


def export_onnx(
    config: str | Path,
    checkpoint: str | Path,
    out: str | os.PathLike,
    image_size: Sequence[int] | None = None,
    calibration: str | os.PathLike | None = None,
    threshold: float = 0.5,
    opset: int = OPSET,
    half: bool = False,
    tolerance: float | None = None,
    repeats: int = 5,
    options: Mapping | Sequence[str] | None = None,
) -> dict:
    """Write a model as ONNX, checked against PyTorch, and print the differences, its size and its speed.

    The graph takes images (B, 3, h, w) uint8 in RGB, any number of them and of one size, and gives ``scores`` (B, C),
    ``maps`` (B, C, H, W), and ``probabilities`` (B, C) if there is a calibration; see
    :func:`~sarlp.inference.onnx.facts.metadata` for what else is in the file. Adapters of LoRA are merged and BatchNorm
    is folded.

    Args:
        config: file, or name of a config.
        checkpoint: file, or a work directory, whose best checkpoint is taken.
        out: the file; nothing is written if the check fails.
        image_size: (side,) or (width, height) in px; None for that of the test pipeline.
        calibration: the ``recovered.json`` of ``sarlp recover``.
        threshold: of the scores, without a calibration.
        opset: version of ONNX's operators, at least 18.
        half: keep the weights in float16. Half the file; computed in float32 all the same.
        tolerance: largest difference from PyTorch that passes; None for 1e-4, or 1e-2 with ``half``.
        repeats: timed runs of each kind; 0 times nothing.
        options: for the config, as ``--cfg-options``.

    Returns:
        ``differences`` (output to the largest one), ``bytes`` of the file, and ``latencies``, a list of
        (images, PyTorch's ms, onnxruntime's ms).

    Raises:
        UserError: packages are missing, files do not fit each other, or the outputs differ.
    """
    require_packages()
    import onnx

    if opset < OPSET:
        raise UserValueError(f'opset must be at least {OPSET}, got {opset}')
    if repeats < 0:
        raise UserValueError(f'repeats must be 0 or more, got {repeats}')
    if tolerance is not None and not tolerance >= 0:
        raise UserValueError(f'tolerance must be a number from 0 on, got {tolerance}')
    if image_size is not None and len(image_size) == 1:
        image_size = (*image_size, *image_size)
    if not 0 <= threshold <= 1:
        raise UserValueError(f'threshold must be a number from 0 to 1, got {threshold!r}')
    cfg = load_config(config, options)
    checkpoint = find_checkpoint(checkpoint)
    given = (cfg.filename, checkpoint, calibration)
    check_output(out, [file for file in given if isinstance(file, str | os.PathLike)], _is_exported)
    if image_size is not None:  # before it is compared with that of the training
        set_image_size(cfg, image_size)
    preprocessing = read_preprocessing(cfg, image_size)
    size = preprocessing['width'], preprocessing['height']
    # where onnxruntime computes here, too: a GPU rounds otherwise, and its times would compare with nothing
    model = init_model(cfg, checkpoint, 'cpu')
    if precision_of(model.backbone) != torch.float32:
        print('the backbone was frozen in half of the bits; the exported model computes it in float32')
        model.float()
    Predictor(model)  # refuses a test pipeline that reads no image
    unlike = (*model.unlike_training, *(() if image_size is None else warn_of_size(cfg, image_size, model.meta)))
    fitted = read_calibration(calibration, model, checkpoint)
    deployed = Deployed(prepare_for_inference(copy.deepcopy(model)), fitted).eval()

    proto = to_onnx(deployed, size, opset)
    if half:
        halve_weights(proto)
    facts = metadata(model.classes, preprocessing, threshold, fitted, cfg, checkpoint, unlike)
    onnx.helper.set_model_props(proto, facts)
    content = proto.SerializeToString()
    session = open_session(content)
    tolerance = TOLERANCE[half] if tolerance is None else tolerance
    largest = _check(session, Deployed(model).eval(), fitted, size, tolerance)
    with atomic_write(out, 'wb') as file:
        file.write(content)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    print(f'\nwritten to {out}: {len(content) / 1e6:.1f} MB (weights in the checkpoint: {weights / 1e6:.1f} MB)')
    timings = list(latencies(session, deployed, size, (1, 8), repeats)) if repeats else []
    _print_timings(timings, size)
    return {'differences': largest, 'bytes': len(content), 'latencies': timings}


def _is_exported(path: Path) -> bool:
    import onnx

    try:
        props = onnx.load(path, load_external_data=False).metadata_props
    except Exception:  # of protobuf and onnx, by what the file is instead
        return False
    return any(prop.key == 'sarlp_version' for prop in props)


def _check(session, reference: Deployed, calibration, size: tuple[int, int], tolerance: float) -> dict[str, float]:
    largest: dict[str, float] = {}
    print('largest differences from PyTorch:')
    for kind, batch, differences in largest_differences(session, reference, calibration, size):
        listed = ', '.join(f'{name} {value:.1e}' for name, value in differences.items())
        print(f'  {kind:6}  {batch} image{"s" if batch > 1 else " "}  {listed}')
        largest = {name: max(value, largest.get(name, 0.0)) for name, value in differences.items()}
    bad = {name: value for name, value in largest.items() if not value <= tolerance}
    if bad:
        listed = ', '.join(f'{name} by {value:.1e}' for name, value in bad.items())
        raise UserError(
            f'the exported model differs from PyTorch in {listed}, and {tolerance:.0e} is allowed; nothing was '
            'written. A larger --tolerance lets it pass'
        )
    return largest


def _print_timings(timings: Sequence[tuple[int, float, float]], size: tuple[int, int]) -> None:
    if not timings:
        return
    threads = torch.get_num_threads()
    print(f'\nmilliseconds a batch, {size[0]} x {size[1]} px, {threads} thread{"s"[: threads > 1]}, medians:')
    print('images  PyTorch  onnxruntime  ratio')
    for batch, eager, runtime in timings:
        print(f'{batch:6}  {eager:7.1f}  {runtime:11.1f}  {eager / runtime:5.2f}')
