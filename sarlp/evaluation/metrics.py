"""The metrics of :mod:`sarlp.evaluation.functional` for MMEngine's evaluator.

Each image becomes one small entry of ``results`` with its labels and its ignore mask in it, so that however ranks are
interleaved and a sampler's padding is cut, scores and labels stay together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from sarlp.errors import UserValueError
from sarlp.evaluation.functional import (
    average_precision_of_kinds,
    f1_family,
    label_recovery,
    mean_average_precision,
)
from sarlp.labels import UNKNOWN
from sarlp.registry import METRICS


class _ScoresMetric(BaseMetric):
    """Collects scores and labels of every image; what is computed of them is left to the subclass.

    Attributes:
        report: after ``evaluate`` on rank 0, what the tools write to files; None elsewhere and before.
    """

    default_prefix = None
    label_keys: tuple[str, ...]

    def __init__(
        self,
        threshold: float = 0.5,
        percent: bool = True,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        # MMEngine warns about every metric without a prefix. Here that is on purpose: `mAP` is what
        # `save_best='mAP'` and the results table name.
        super().__init__(collect_device=collect_device, prefix=prefix or 'none', collect_dir=collect_dir)
        self.prefix = prefix
        self.threshold = threshold
        self.scale = 100.0 if percent else 1.0
        self.report: dict[str, Any] | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep what is needed of a batch.

        Args:
            data_batch: not read.
            data_samples: one dict an image with ``img_id`` (str), ``pred_score`` ((C,) float tensor), the label
                tensors of ``label_keys`` ((C,) of 1 / 0 / -1) and, optionally, ``ignore`` ((C,) bool tensor).

        Raises:
            ValueError: a key is missing, a score is not finite, or an entry has another number of classes.
        """
        for sample in data_samples:
            missing = [key for key in ('img_id', 'pred_score', *self.label_keys) if sample.get(key) is None]
            if missing:
                raise UserValueError(
                    f'{type(self).__name__} needs {", ".join(missing)} in every data sample, but image '
                    f'{sample.get("img_id", sample.get("img_path", "without img_id"))!r} lacks it; '
                    'is it among the keys that the last transform of the pipeline packs?'
                )
            image_id = str(sample['img_id'])
            scores = _to_numpy(sample['pred_score'], np.float32)
            if scores.ndim != 1:
                raise UserValueError(
                    f'pred_score of image {image_id!r} must have the shape (C,), but has {scores.shape}'
                )
            if not np.isfinite(scores).all():
                index = int(np.flatnonzero(~np.isfinite(scores))[0])
                raise UserValueError(
                    f'the score of image {image_id!r} for {self._class_name(index)} is {scores[index]}; '
                    'a model that has diverged cannot be evaluated'
                )
            # int8 would cut a soft label of 0.5 to 0 in silence; the check of the codes comes before
            entry = {'img_id': image_id, 'pred_score': scores}
            for key in self.label_keys:
                labels = _to_numpy(sample[key])
                if not np.isin(labels, (1, 0, -1)).all():
                    raise UserValueError(f'{key} of image {image_id!r} must hold only 1, 0 and -1')
                entry[key] = labels.astype(np.int8)
            if sample.get('ignore') is not None:
                entry['ignore'] = _to_numpy(sample['ignore'], bool)
            for key, value in entry.items():
                if key != 'img_id' and value.shape != scores.shape:
                    raise UserValueError(
                        f'image {image_id!r} has {scores.size} scores, but {key} of the shape {value.shape}'
                    )
            self.results.append(entry)

    def _gather(self, results: list[dict]) -> dict[str, Any]:
        """The arrays (N, C) of all images, with ``image_ids`` and ``classes``."""
        if not results:
            raise UserValueError(f'{type(self).__name__} got no image to evaluate; is the split empty?')
        image_ids = [entry['img_id'] for entry in results]
        if len(set(image_ids)) != len(image_ids):
            seen: set[str] = set()
            repeated = sorted({name for name in image_ids if name in seen or seen.add(name)})
            raise UserValueError(
                f'{len(repeated)} of {len(image_ids)} images were evaluated more than once, first {repeated[0]!r}. '
                'A sampler that shuffles cannot have its padding cut: set shuffle=False in the sampler of this '
                'dataloader, and see that no image is listed twice in the data set.'
            )
        num_classes, *others = {entry['pred_score'].size for entry in results}
        if others:
            raise UserValueError(
                f'images have scores for different numbers of classes: {sorted([num_classes, *others])}'
            )
        classes = self._classes()
        if classes is None:
            classes = tuple(str(index) for index in range(num_classes))
        if len(classes) != num_classes:
            raise UserValueError(f'the data set names {len(classes)} classes, but the model gives {num_classes} scores')

        gathered = {
            'image_ids': image_ids,
            'classes': tuple(classes),
            'scores': np.stack([entry['pred_score'] for entry in results]),
            'ignore': np.zeros((len(results), num_classes), bool),
        }
        for row, entry in enumerate(results):
            if 'ignore' in entry:
                gathered['ignore'][row] = entry['ignore']
        for key in self.label_keys:
            gathered[key] = np.stack([entry[key] for entry in results])
        return gathered

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
        top_k: also measure with only the k highest scores of an image kept (if above the threshold); None for not.
        percent: give fractions as percent.
        collect_device: ``'cpu'`` or ``'gpu'``, through which the ranks' results are gathered.
        prefix: put before the names of the metrics with a slash; None for none.
        collect_dir: shared directory for gathering over ``'cpu'``; None for a temporary one.
    """

    label_keys = ('gt_score_full',)

    def __init__(self, threshold: float = 0.5, top_k: int | None = 3, **kwargs) -> None:
        super().__init__(threshold=threshold, **kwargs)
        self.top_k = top_k

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """All metrics of the gathered results; see the class."""
        gathered = self._gather(results)
        scores, full, ignore = gathered['scores'], gathered.pop('gt_score_full'), gathered['ignore']
        metrics: dict[str, float] = {}
        report: dict[str, Any] = {**gathered, 'full': full, 'metrics': metrics}
        for suffix, ap in zip(('', '_plain'), average_precision_of_kinds(scores, full, ignore).values(), strict=True):
            mean, left_out = mean_average_precision(ap)
            metrics[f'mAP{suffix}'] = self.scale * mean
            report[f'AP{suffix}'] = dict(zip(gathered['classes'], (self.scale * ap).tolist(), strict=True))
        for name, value in f1_family(scores, full, ignore, self.threshold).items():
            metrics[name] = self.scale * value
        if self.top_k is not None:
            for name, value in f1_family(scores, full, ignore, self.threshold, self.top_k).items():
                metrics[f'{name}_top{self.top_k}'] = self.scale * value
        metrics['classes_left_out'] = float(left_out)
        self.report = report
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
        collect_device: ``'cpu'`` or ``'gpu'``, through which the ranks' results are gathered.
        prefix: put before the names of the metrics with a slash; None for none.
        collect_dir: shared directory for gathering over ``'cpu'``; None for a temporary one.
    """

    label_keys = ('gt_score', 'gt_score_full')

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """All metrics of the gathered results; see the class."""
        gathered = self._gather(results)
        full = gathered.pop('gt_score_full')
        full[gathered.pop('ignore')] = UNKNOWN
        observed = gathered.pop('gt_score')
        quality = label_recovery(gathered['scores'], observed, full, self.threshold)
        left_out = quality.pop('classes_left_out')
        counts = ('hidden', 'hidden_positive')
        metrics = {
            f'recovery_{name}': float(value) if name in counts else self.scale * value
            for name, value in quality.items()
        }
        self.report = {
            **gathered,
            'observed': observed,
            'full': full,
            'threshold': self.threshold,
            'classes_left_out': left_out,
            'metrics': metrics,
        }
        return metrics


def _to_numpy(value: Any, dtype: Any = None) -> np.ndarray:
    """A copy, so that a small row does not keep the tensor of its whole batch alive."""
    if hasattr(value, 'detach'):
        # numpy has no bfloat16, which autocast gives
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    return np.array(value, dtype)
