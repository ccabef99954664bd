"""The weak and the strong view of an image, made of the training pipeline of whatever data set a method meets."""

from collections.abc import Mapping

from mmengine.config import Config

from sarlp.datasets.nesting import keyed_leaves
from sarlp.registry import METHODS

TWO_VIEWS = ('weak', 'strong')
# augmentations that may leave an image hard to recognise; flips, crops and resizing do not
STRONG = (
    *('RandAugment', 'AutoAugment', 'RandomCutout', 'Cutout', 'RandomErasing', 'ColorJitter', 'GaussianBlur'),
    *('Lighting', 'Albumentations', 'PhotoMetricDistortion'),
)


def _is_strong(step: Mapping) -> bool:
    return str(step.get('type')).rpartition('.')[2] in STRONG


def split(pipeline: list[dict]) -> list[dict]:
    """A pipeline that ends in the two views.

    What comes before the first strong augmentation is done once, for both; the weak view leaves the strong ones out.
    Without any, both views have the same steps behind the first one, which loads the image, with random numbers of
    their own. Where the pipeline ends in views already, it is returned as it is.
    """
    if not pipeline or any(step.get('type') == 'Views' for step in pipeline):
        return pipeline
    first = next((place for place, step in enumerate(pipeline) if _is_strong(step)), 1)
    shared, rest = pipeline[:first], pipeline[first:]
    return [*shared, dict(type='Views', weak=[step for step in rest if not _is_strong(step)], strong=rest)]


def give_views(cfg: Config) -> None:
    """Where the method wants a weak and a strong view, let the training pipeline end in them; in place."""
    kind = ((cfg.get('model') or {}).get('method') or {}).get('type')
    dataset = (cfg.get('train_dataloader') or {}).get('dataset')
    method = METHODS.get(kind) if isinstance(kind, str) and kind else kind
    if dataset is None or getattr(method, 'views', None) != TWO_VIEWS:
        return
    for _, leaf in keyed_leaves(dataset, 'train_dataloader.dataset'):
        leaf.pipeline = split(list(leaf.get('pipeline', ())))
