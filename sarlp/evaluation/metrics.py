"""The metrics of :mod:`sarlp.evaluation.functional` for MMEngine's evaluator.

Scores, labels and ignore mask of a batch are kept as one row an image each, beside the image ids, so that however
ranks are interleaved and a sampler's padding is cut, they stay together.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.evaluator import BaseMetric

from sarlp.errors import UserError, UserValueError, check_threshold
from sarlp.evaluation.blocks import illegal_labels
from sarlp.evaluation.functional import (
    average_precision_of_kinds,
    f1_family,
    label_recovery,
    mean_average_precision,
)
from sarlp.evaluation.gathering import Rows, encode, exchange, gather_rows, gather_strings
from sarlp.labels import UNKNOWN
from sarlp.registry import METRICS


class _ScoresMetric(BaseMetric):
    """Collects scores and labels of every image; what is computed of them is left to the subclass.

    Attributes:
        report: what the tools write to files, on rank 0 from ``evaluate`` to the next evaluation; else None.
    """

    default_prefix = None
    label_keys: tuple[str, ...]
    kept: dict[str, type]  # arrays of the report, as _columns gives them, and their dtypes

    def __init__(
        self,
        threshold: float = 0.5,
        percent: bool = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        scores_dir: str | None = None,
    ) -> None:
        # MMEngine warns about every metric without a prefix. Here that is on purpose: `mAP` is what
        # `save_best='mAP'` and the results table name.
        super().__init__(collect_device=collect_device, prefix=prefix or 'none')
        self.prefix = prefix
        self.threshold = check_threshold(threshold)
        self.scale = 100.0 if percent else 1.0
        self.scores_dir = scores_dir
        self.report: dict[str, Any] | None = None
        self._reset()

    def _reset(self) -> None:
        self._image_ids: list[str] = []
        self._rows: dict[str, Rows] = {}

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what is needed of a batch.

        Args:
            data_batch: not read.
            data_samples: one dict an image with ``img_id`` (str), ``pred_score`` ((C,) float tensor), the label
                tensors of ``label_keys`` ((C,) of 1 / 0 / -1) and, optionally, ``ignore`` ((C,) bool tensor).

        Raises:
            ValueError: a key is missing, a score is not finite, or an entry has another number of classes.
        """
        if not data_samples:
            return
        for sample in data_samples:
            self._check_sample(sample)
        image_ids = [str(sample['img_id']) for sample in data_samples]
        self._check_widths({len(sample['pred_score']) for sample in data_samples} | self._widths())

        scores = _stack([sample['pred_score'] for sample in data_samples], torch.float32)
        if not np.isfinite(scores).all():
            row, column = np.argwhere(~np.isfinite(scores))[0]
            raise UserValueError(
                f'the score of image {image_ids[row]!r} for {self._class_name(column)} is {scores[row, column]}; '
                'a model that has diverged cannot be evaluated'
            )
        labels = {}
        for key in self.label_keys:
            read = _stack([sample[key] for sample in data_samples])
            illegal = illegal_labels(read)
            if illegal.any():
                image_id = image_ids[np.flatnonzero(illegal.any(1))[0]]
                raise UserValueError(f'{key} of image {image_id!r} must hold only 1, 0 and -1')
            labels[key] = read.astype(np.int8)
        ignore = np.zeros(scores.shape, bool)
        given = [row for row, sample in enumerate(data_samples) if sample.get('ignore') is not None]
        if given:
            ignore[given] = _stack([data_samples[row]['ignore'] for row in given])

        self._image_ids += image_ids
        if not self._rows:
            self._rows = self._new_rows(scores.shape[1])
            self.report = None  # the arrays of the last evaluation make room
        for rows, columns in zip(self._rows.values(), self._columns(scores, labels, ignore), strict=True):
            rows.append(columns)

    @abstractmethod
    def _columns(self, scores: np.ndarray, labels: dict[str, np.ndarray], ignore: np.ndarray) -> tuple[np.ndarray, ...]:
        """What of a batch is kept, (n, C) each."""

    def _new_rows(self, width: int) -> dict[str, Rows]:
        return {name: Rows(width, dtype, self.scores_dir) for name, dtype in self.kept.items()}

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the rows of all ranks and compute the metrics on rank 0.

        Args:
            size: images in the data set; what a sampler padded beyond it is cut.

        Returns:
            The metrics, on every rank.

        Raises:
            ValueError: no image, an image twice, or numbers of classes that differ; on every rank.
        """
        outcome: list[Any] = [None]
        try:
            gathered = self._gather(size)
            if gathered is not None:  # on rank 0
                try:
                    metrics = self.compute_metrics(gathered)
                    outcome = [{f'{self.prefix}/{name}' if self.prefix else name: metrics[name] for name in metrics}]
                except UserError as error:  # the other ranks would wait for metrics until they time out
                    outcome = [error]
        finally:
            self._reset()
        broadcast_object_list(outcome)
        if isinstance(outcome[0], UserError):
            raise outcome[0]
        return outcome[0]

    def _gather(self, size: int) -> dict[str, Any] | None:
        """The arrays (N, C) of all images and their ``image_ids``, on rank 0."""
        longest = max((len(encode(image_id)) for image_id in self._image_ids), default=0)
        counts, widths, lengths = exchange(len(self._image_ids), max(self._widths(), default=0), longest).T
        if not counts.any():
            raise UserValueError(f'{type(self).__name__} got no image to evaluate; is the split empty?')
        self._check_widths(set(widths[counts > 0].tolist()))
        self._rows = self._rows or self._new_rows(int(widths.max()))  # a rank without an image takes part, too
        counts = counts.tolist()
        gathered: dict[str, Any] = {'image_ids': gather_strings(self._image_ids, counts, int(lengths.max()), size)}
        for name in self.kept:
            gathered[name] = gather_rows(self._rows.pop(name), counts, size)
        return gathered if is_main_process() else None

    def compute_metrics(self, gathered: dict[str, Any]) -> dict[str, float]:
        """All metrics of the gathered arrays; see the class."""
        image_ids, num_classes = gathered['image_ids'], gathered['scores'].shape[1]
        if len(set(image_ids)) != len(image_ids):
            repeated = sorted(name for name, count in Counter(image_ids).items() if count > 1)
            raise UserValueError(
                f'{len(repeated)} of {len(image_ids)} images were evaluated more than once, first {repeated[0]!r}. '
                'A sampler that shuffles cannot have its padding cut: set shuffle=False in the sampler of this '
                'dataloader, and see that no image is listed twice in the data set.'
            )
        classes = self._classes()
        if classes is None:
            classes = tuple(str(index) for index in range(num_classes))
        if len(classes) != num_classes:
            raise UserValueError(f'the data set names {len(classes)} classes, but the model gives {num_classes} scores')
        report = {**gathered, 'classes': tuple(classes)}
        report['metrics'] = self._measure(report)
        self.report = report
        return report['metrics']

    @abstractmethod
    def _measure(self, report: dict[str, Any]) -> dict[str, float]:
        """The metrics of the report's arrays; adds to the report what else is known afterwards."""

    def names(self) -> list[str]:
        """The names of what is measured, in order."""
        report: dict[str, Any] = {name: np.zeros((2, 1), dtype) for name, dtype in self.kept.items()}
        report['full'][0] = 1
        measured = self._measure({**report, 'classes': ('any',)})  # rather than say them twice
        return [f'{self.prefix}/{name}' if self.prefix else name for name in measured]

    def _check_sample(self, sample: dict) -> None:
        missing = [key for key in ('img_id', 'pred_score', *self.label_keys) if sample.get(key) is None]
        if missing:
            raise UserValueError(
                f'{type(self).__name__} needs {", ".join(missing)} in every data sample, but image '
                f'{sample.get("img_id", sample.get("img_path", "without img_id"))!r} lacks it; '
                'is it among the keys that the last transform of the pipeline packs?'
            )
        image_id, shape = str(sample['img_id']), np.shape(sample['pred_score'])
        if len(shape) != 1:
            raise UserValueError(f'pred_score of image {image_id!r} must have the shape (C,), but has {tuple(shape)}')
        for key in (*self.label_keys, 'ignore'):
            if sample.get(key) is not None and np.shape(sample[key]) != shape:
                raise UserValueError(
                    f'image {image_id!r} has {shape[0]} scores, but {key} of the shape {tuple(np.shape(sample[key]))}'
                )

    def _widths(self) -> set[int]:
        return {rows.width for rows in self._rows.values()}

    @staticmethod
    def _check_widths(widths: set[int]) -> None:
        if len(widths) > 1:
            raise UserValueError(f'images have scores for different numbers of classes: {sorted(widths)}')

    def _classes(self) -> Sequence[str] | None:
        return (self.dataset_meta or {}).get('classes')

    def _class_name(self, index: int) -> str:
        classes = self._classes()
        return f'class {index}' if classes is None or index >= len(classes) else f'class {index} ({classes[index]})'


@METRICS.register_module()
class MultiLabelMetric(_ScoresMetric):
    """Mean average precision and the F1 family, measured against the complete labels.

    ``pred_score`` is compared with ``gt_score_full``; what is unknown there or True in ``ignore`` is left out.

    The result is a flat dict: ``mAP`` (voc12), ``mAP_plain``, ``CP CR CF1 OP OR OF1`` at the threshold, the same six
    with the suffix ``_top<k>``, and ``classes_left_out`` (of the means of AP, having no positive). After evaluation
    ``report`` holds, on rank 0: ``AP`` and ``AP_plain`` (dict from class name to a number scaled as the metrics are),
    ``image_ids`` (list of str), ``classes`` (tuple of str), ``scores`` ((N, C) float32), ``full`` ((N, C) int8),
    ``ignore`` ((N, C) bool) and ``metrics`` (the flat dict, without prefix).

    Args:
        threshold: a class is predicted if its score is strictly greater.
        top_k: also measure with only the k highest scores of an image kept (if they reach the threshold); None for not.
        percent: give fractions as percent.
        collect_device: as in any metric of MMEngine. It makes no difference here: rows are kept in memory and travel on
            the device of the process group, a few at a time.
        prefix: put before the names of the metrics with a slash; None for none.
        scores_dir: folder, of each rank's own machine, for scores and labels that do not fit in memory; they lie there
            in files without a name, which are gone with the report. None keeps them in memory.
    """

    label_keys = ('gt_score_full',)
    kept = {'scores': np.float32, 'full': np.int8, 'ignore': np.bool_}

    def __init__(self, *args, top_k: int | None = 3, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if top_k is not None and (type(top_k) is not int or top_k < 1):
            raise UserValueError(f'top_k must be a whole number of at least 1, or None, got {top_k!r}')
        self.top_k = top_k

    def _columns(self, scores: np.ndarray, labels: dict[str, np.ndarray], ignore: np.ndarray) -> tuple[np.ndarray, ...]:
        return scores, labels['gt_score_full'], ignore

    def _measure(self, report: dict[str, Any]) -> dict[str, float]:
        data = report['scores'], report['full'], report['ignore']
        metrics: dict[str, float] = {}
        for suffix, ap in zip(('', '_plain'), average_precision_of_kinds(*data).values(), strict=True):
            mean, left_out = mean_average_precision(ap)
            metrics[f'mAP{suffix}'] = self.scale * mean
            report[f'AP{suffix}'] = dict(zip(report['classes'], (self.scale * ap).tolist(), strict=True))
        for name, value in f1_family(*data, self.threshold).items():
            metrics[name] = self.scale * value
        if self.top_k is not None:
            for name, value in f1_family(*data, self.threshold, self.top_k).items():
                metrics[f'{name}_top{self.top_k}'] = self.scale * value
        metrics['classes_left_out'] = float(left_out)
        return metrics


@METRICS.register_module()
class LabelRecoveryMetric(_ScoresMetric):
    """How well hidden labels are recovered, for a split whose complete labels are known.

    ``pred_score`` is compared with ``gt_score_full`` where ``gt_score`` is unknown. Pairs that are True in ``ignore``
    count as not known.

    The result is a flat dict: ``recovery_AP``, ``recovery_AP_micro``, ``recovery_precision``, ``recovery_recall``,
    ``recovery_F1``, and the numbers ``recovery_hidden`` and ``recovery_hidden_positive``; all but the numbers are NaN
    where nothing is hidden. After evaluation ``report`` holds, on rank 0: ``image_ids`` (list of str), ``classes``
    (tuple of str), ``scores`` ((N, C) float32), ``observed`` and ``full`` ((N, C) int8, ``full`` with -1 for ignored
    pairs), ``threshold``, ``classes_left_out`` (of ``recovery_AP``) and ``metrics`` (the flat dict, without prefix).

    Args:
        threshold: a label is recovered as positive if its score is strictly greater.
        percent: give fractions as percent.
        collect_device: as in any metric of MMEngine. It makes no difference here: rows are kept in memory and travel on
            the device of the process group, a few at a time.
        prefix: put before the names of the metrics with a slash; None for none.
        scores_dir: folder, of each rank's own machine, for scores and labels that do not fit in memory; they lie there
            in files without a name, which are gone with the report. None keeps them in memory.
    """

    label_keys = ('gt_score', 'gt_score_full')
    kept = {'scores': np.float32, 'observed': np.int8, 'full': np.int8}

    def _columns(self, scores: np.ndarray, labels: dict[str, np.ndarray], ignore: np.ndarray) -> tuple[np.ndarray, ...]:
        return scores, labels['gt_score'], np.where(ignore, np.int8(UNKNOWN), labels['gt_score_full'])

    def _measure(self, report: dict[str, Any]) -> dict[str, float]:
        quality = label_recovery(report['scores'], report['observed'], report['full'], self.threshold)
        report['threshold'] = self.threshold
        report['classes_left_out'] = quality.pop('classes_left_out')
        counts = ('hidden', 'hidden_positive')
        return {
            f'recovery_{name}': float(value) if name in counts else self.scale * value
            for name, value in quality.items()
        }


def _stack(values: Sequence[Any], dtype: torch.dtype | None = None) -> np.ndarray:
    """A copy of the rows of a batch, which leave the device in one transfer. ``dtype`` None keeps theirs."""
    stacked = torch.stack([torch.as_tensor(value) for value in values]).detach()
    if dtype is None and stacked.dtype == torch.bfloat16:  # autocast gives it, numpy has none
        dtype = torch.float32
    return stacked.to('cpu', dtype).numpy()
