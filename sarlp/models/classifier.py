"""The multi-label classifier: wires network and method into MMEngine's model, computes nothing itself."""

import warnings
from collections.abc import Sequence

import torch
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from sarlp.errors import GraveWarning, UserError, UserValueError
from sarlp.methods.base import IMAGE, Batch, Progress, TaskInfo, check_views
from sarlp.methods.contract import check_graph, check_losses, stack_labels
from sarlp.methods.label_store import require_places
from sarlp.models.frozen import freeze
from sarlp.models.network import Network, measure
from sarlp.models.normalization import Normalization, asks_backbone, normalization_of
from sarlp.models.precision import PRECISIONS
from sarlp.models.recompute import recompute
from sarlp.registry import METHODS, MODELS

_METHOD = 'method.'


def require_finite(losses: dict[str, Tensor], images: Sequence[str]) -> dict[str, Tensor]:
    """Losses as they are; naming what broke, and in which images, is worth the look at the value.

    Raises:
        UserError: one is not finite.
    """
    broken = [f'{name} = {value.item()}' for name, value in losses.items() if not torch.isfinite(value).all()]
    if broken:
        raise UserError(
            f'the loss is not finite ({", ".join(broken)}); the images of this batch: '
            f'{", ".join(images[:10])}{" ..." if len(images) > 10 else ""}. Lower the learning rate, '
            'or look for broken images and label embeddings, in a loss of your own for log(0) and 0 / 0'
        )
    return losses


@MODELS.register_module()
class MultiLabelClassifier(BaseModel):
    """A network, and in training the method that trains it.

    What the method holds is no part of ``state_dict()``: it is saved beside the weights
    (:class:`~sarlp.engine.training.method_hook.MethodHook`), since neither the average nor prediction has a use for it.

    Args:
        backbone: config, see :class:`~sarlp.models.network.Network`.
        head: config of a head, see :mod:`sarlp.models.heads`; ``in_channels=None`` takes the width of the backbone.
        method: config of a method, see :mod:`sarlp.methods`; None for a model that is not trained.
        data_preprocessor: config; uint8 images to a normalised batch on the device. ``mean`` and ``std`` of
            ``'backbone'`` are those that the backbone's weights were trained with
            (:func:`~sarlp.models.normalization.normalization_of`); a checkpoint then holds them.
        size_divisor: both sides of an image must be a multiple of it: the stride of the backbone, which None measures.
        frozen_backbone: train the head only. The backbone stays in evaluation mode (:mod:`sarlp.models.frozen`), and
            its feature maps can be kept (:mod:`sarlp.engine.kept_tokens`).
        frozen_precision: of the convolutions and matrix products of a frozen backbone, in training and ever after, one
            of :data:`~sarlp.models.precision.PRECISIONS`.
        recompute_backbone: save memory in training, at the price of one more forward pass of the backbone
            (:mod:`sarlp.models.recompute`).
        standardize_tokens: scale each channel of the tokens to mean 0 and variance 1, those of all places of a batch
            together (BatchNorm), before any head takes them. Those of a frozen backbone come at any scale, and one
            learning rate fits them all once they are. :class:`~sarlp.models.token_head.TokenHead` does it by itself.
        task: what is known of the training data; None for a model that is not trained. ``head.num_classes`` must be
            given then.

    Attributes:
        network: images to outputs; shares backbone and head with this model.
        progress: where the run is, set before each step.
        look: at the losses, before the backward pass spoils the weights; takes those of the method and the image ids,
            and returns the losses.
    """

    look = staticmethod(require_finite)
    _is_looked_at = False  # what the method did in its first step

    def __init__(
        self,
        backbone: dict,
        head: dict,
        method: dict | None = None,
        data_preprocessor: dict | None = None,
        size_divisor: int | None = 32,
        frozen_backbone: bool = False,
        frozen_precision: str = 'float32',
        recompute_backbone: bool = False,
        standardize_tokens: bool = False,
        task: TaskInfo | None = None,
        init_cfg: dict | None = None,
    ):
        if frozen_precision not in PRECISIONS or (frozen_precision != PRECISIONS[0] and not frozen_backbone):
            raise UserValueError(
                f'model.frozen_precision must be one of {", ".join(PRECISIONS)}, and of a backbone that is trained '
                f'{PRECISIONS[0]}; got {frozen_precision!r} with model.frozen_backbone={frozen_backbone}'
            )
        encoder = MODELS.build(backbone)
        if asks := asks_backbone(data_preprocessor):
            data_preprocessor = {**data_preprocessor, **normalization_of(encoder)._asdict()}
        super().__init__(data_preprocessor, init_cfg)
        if asks:  # so that prediction has the numbers of training, whatever the library says by then
            for name in Normalization._fields:
                self.data_preprocessor.register_buffer(name, getattr(self.data_preprocessor, name))
        self.backbone = encoder
        if size_divisor is None or head.get('in_channels', 0) is None:
            width, stride = measure(self.backbone)
            size_divisor = stride if size_divisor is None else size_divisor
            head = {**head, 'in_channels': width if head.get('in_channels', 0) is None else head['in_channels']}
        if frozen_backbone:
            freeze(self.backbone, frozen_precision)
        elif recompute_backbone:
            recompute(self.backbone)
        self.head = MODELS.build(head)
        self.token_norm = nn.BatchNorm1d(self.head.in_channels) if standardize_tokens else None
        network = Network(self.backbone, self.head, size_divisor, self.token_norm)
        self.__dict__['network'] = network  # no second child of the same parts
        self.method = None if method is None else METHODS.build(method)
        if self.method is not None and task is not None:
            self.method.meet(self.network)
            self.method.before_train(task)
        self.progress = Progress()
        self._register_state_dict_hook(_leave_out_method)

    def forward(self, inputs, data_samples: list[DataSample] | None = None, mode: str = 'tensor'):
        """MMEngine's entry point.

        Args:
            inputs: (B, 3, h, w), normalised, or of a frozen backbone its feature maps (B, D, H, W); in training also
                a dict of them by view.
            data_samples: B samples; ``gt_score`` (C,) of 1 / 0 / -1 is needed by mode ``'loss'``.
            mode: ``'tensor'`` returns the named outputs of the network, with ``scores`` = sigmoid(logits);
                ``'predict'`` returns the samples with ``pred_score`` (C,); ``'loss'`` returns named losses.
        """
        if mode == 'loss':
            return self._losses(inputs, data_samples or ())
        outputs = self.network(inputs)
        outputs['scores'] = outputs['logits'].float().sigmoid()
        if mode == 'tensor':
            return outputs
        if mode != 'predict':
            raise ValueError(f"mode must be 'tensor', 'predict' or 'loss', got {mode!r}")
        data_samples = data_samples or [DataSample() for _ in range(len(inputs))]
        for sample, score in zip(data_samples, outputs['scores'], strict=True):
            sample.set_pred_score(score)
        return data_samples

    def _losses(self, inputs, data_samples: Sequence[DataSample]) -> dict[str, Tensor]:
        if self.method is None:
            raise UserError('the model has no method (model.method), so it can not be trained')
        if not data_samples:
            raise UserError(
                f'a batch without labels reached the model; {type(self.data_preprocessor).__name__} must hand on what '
                "it is given: dict(inputs=..., data_samples=data['data_samples'])"
            )
        images = inputs if isinstance(inputs, dict) else {IMAGE: inputs}
        check_views(self.method, images)
        device = next(iter(images.values())).device
        index = torch.tensor([sample.get('index', -1) for sample in data_samples])
        if self.method.needs_places():
            require_places(index)
        batch = Batch(
            images=images,
            observed=_to(device, stack_labels(data_samples, self.head.num_classes)),
            index=_to(device, index),
            ids=tuple(sample.get('img_id', '?') for sample in data_samples),
            progress=self.progress,
        )
        trains = self.head.training
        version = batch.observed._version
        losses = check_losses(self.method.loss(self.network, batch), self.method)
        if not self._is_looked_at:
            self._is_looked_at = True
            check_graph(losses, self.network, self.method)
            if batch.observed._version != version:
                warnings.warn(
                    f'{type(self.method).__name__}.loss changes the labels that it is given in place, and so those of '
                    'every loss of the same step; look for target[...] = or clamp_(), and change target.clone()',
                    GraveWarning,
                    stacklevel=1,
                )
        if trains and not self.head.training:
            raise UserError(
                f'{type(self.method).__name__}.loss left the network in evaluation mode, in which dropout and the '
                'statistics of BatchNorm stand still; call network.train() after what needs network.eval(), or take '
                'a sarlp.methods.Teacher'
            )
        return self.look(losses, batch.ids)


def _leave_out_method(module, state: dict, prefix: str, _metadata) -> None:
    for key in [key for key in state if key.startswith(prefix + _METHOD)]:
        del state[key]


def _to(device: torch.device, values: Tensor) -> Tensor:
    """Without waiting for the copy: from memory that is not pinned, the CPU would."""
    if device.type == 'cuda' and not values.is_cuda:
        values = values.pin_memory()
    return values.to(device, non_blocking=True)
