"""What a method is, and what it may see.

A method is how a network is trained on incomplete labels: one paper, one class, one file of this folder. It sees a
:class:`Batch` at every step, the network and the :class:`TaskInfo` before the first, and nothing else: no hidden label,
no file, no rank, no Runner. The network, :class:`~sarlp.models.network.Network`, is what is evaluated, averaged and
exported; it knows nothing of labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from sarlp.errors import UserError
from sarlp.methods.label_store import LabelStore
from sarlp.methods.teacher import Teacher

if TYPE_CHECKING:  # which imports this module
    from sarlp.models.network import Network

IMAGE = 'image'  # the name of the view where there is one only


@dataclass(frozen=True, eq=False)
class TaskInfo:
    """What is known of the training data before the first step.

    Attributes:
        classes: C names.
        num_images: N, places in the training set.
        known_positive: (C,) int64, images where the class is known to be there, after the label mask.
        known_negative: (C,) int64, images where it is known not to be.
    """

    classes: tuple[str, ...]
    num_images: int
    known_positive: np.ndarray
    known_negative: np.ndarray

    @property
    def num_classes(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Progress:
    """Where in the run a step is.

    Attributes:
        epoch: from 0.
        step: from 0, over all epochs.
        num_steps: of the whole run.
        num_epochs: of the whole run; None where nobody says.
    """

    epoch: int = 0
    step: int = 0
    num_steps: int = 1
    num_epochs: int | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step sees.

    Attributes:
        images: (B, 3, h, w) normalised, on the device, by view.
        observed: (B, C) float32 of 1 / 0 / -1, the labels after the label mask.
        index: (B,) int64 on the device, the place of each image in the training set, in [0, N); -1 if it has none.
        ids: B image ids.
        progress: where in the run the step is; also as ``epoch``, ``step`` and ``num_steps``.
    """

    images: Mapping[str, Tensor]
    observed: Tensor
    index: Tensor
    ids: tuple[str, ...]
    progress: Progress = field(default_factory=Progress)

    @property
    def epoch(self) -> int:
        return self.progress.epoch

    @property
    def step(self) -> int:
        return self.progress.step

    @property
    def num_steps(self) -> int:
        return self.progress.num_steps

    @property
    def image(self) -> Tensor:
        """(B, 3, h, w): the images, where there is one view."""
        return self.images[IMAGE]


class Method(nn.Module):
    """Base of the methods.

    Whatever a method holds as an ``nn.Module`` does, parameters, buffers and :class:`~sarlp.methods.LabelStore`, is
    moved to the device, trained with the network, saved beside it in every checkpoint and resumed, but is no part of
    what is averaged, evaluated or exported. Any other attribute is lost where a run is resumed; a run says so of those
    that change in its first epoch, unless their name begins with ``_``, as of what is for one step.

    Attributes:
        views: names of the views it wants of each image. Other than one ``'image'``, they are made by the transform
            ``Views`` at the end of the training pipeline.
        lr_mult: factor on the learning rate by parameter of the method; a name stands for all that begin with it.
        teacher: a :class:`~sarlp.methods.Teacher`, or None; bound to the averaged network before the first step.
    """

    views: tuple[str, ...] = (IMAGE,)
    lr_mult: Mapping[str, float] = {}
    teacher: Teacher | None = None

    def meet(self, network: 'Network') -> None:
        """Make what depends on the network, such as the width of its tokens; called once, before ``before_train``."""

    def before_train(self, task: TaskInfo) -> None:
        """Make what depends on the task; called once, before the optimizer is made and before a run is resumed."""

    def needs_places(self) -> bool:
        """Whether each image must have a place in the training set (``index`` of the batch)."""
        return any(isinstance(part, LabelStore) for part in self.modules())

    def first_epoch(self, num_epochs: int) -> int:
        """Epoch, from 0, in which a run of ``num_epochs`` first does what the method is for; a run without it warns."""
        return 0

    def loss(self, network: 'Network', batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            network: images (B, 3, h, w) to named outputs, with gradient.
            batch: what may be seen.

        Returns:
            Scalars by name. Those whose name holds ``loss`` are summed and minimised, the others are only logged.
        """
        raise NotImplementedError(f'{type(self).__name__} has no loss(network, batch); a method defines it')

    def after_step(self) -> None:
        """Called after each step of the optimizer."""

    def after_epoch(self) -> None:
        """Called after the last step of each epoch."""


def check_views(method: Method, images: Mapping[str, Tensor]) -> None:
    """Raises:
    UserError: the training pipeline gives other views than the method wants.
    """
    if set(images) != set(method.views):
        made = (
            "let the training pipeline end in dict(type='PackMultiLabel')"
            if method.views == (IMAGE,)
            else f"let the training pipeline end in dict(type='Views', {', '.join(f'{v}=[...]' for v in method.views)})"
        )
        raise UserError(
            f'{type(method).__name__} wants the views {", ".join(method.views)} of each image, the training data have '
            f'{", ".join(images)}; {made}'
        )
