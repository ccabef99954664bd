"""Any convolutional network of torchvision as a backbone."""

import difflib
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.errors import UserError, UserValueError, first_line, shorten
from sarlp.io.state_dicts import differences
from sarlp.io.weights_file import load_url, read_weights
from sarlp.models.normalization import Normalization
from sarlp.registry import MODELS

_SIDE = 224  # px, that every classifier of torchvision takes
_OLD_DENSENET = re.compile(r'(denselayer\d+\.(?:norm|conv))\.([12]\.)')  # in files: denselayer1.norm.1.weight


@MODELS.register_module()
class TorchvisionBackbone(BaseModule):
    """A classifier of torchvision up to its last feature map, as ``torchvision.models.feature_extraction`` cuts it.

    Args:
        name: of ``torchvision.models.list_models(torchvision.models)``, such as ``'convnext_tiny'``. ViTs, which give
            no map, come from timm or transformers.
        weights: file of a state dict, in torchvision's naming; or a name of torchvision, such as ``'DEFAULT'`` or
            ``'IMAGENET1K_V1'``, which is fetched once into torch's cache. Read by ``init_weights()``; None starts from
            scratch.
        node: where to cut instead, one of ``get_graph_node_names``, whose output is a map (B, D, H, W).
        **options: of the network, such as ``stochastic_depth_prob``.
    """

    def __init__(
        self, name: str, weights: str | None = None, node: str | None = None, init_cfg: dict | None = None, **options
    ):
        super().__init__(init_cfg)
        from torchvision.models import get_model
        from torchvision.models.feature_extraction import create_feature_extractor

        _check_name(name)
        self.name = name
        self.weights = weights
        network = get_model(name, weights=None, **options)
        self._whole = set(network.state_dict())  # with what is cut off
        node = _last_map(network, name) if node is None else node
        try:
            self.network = create_feature_extractor(network, {node: 'map'})
        except ValueError as error:
            raise UserValueError(f'model.backbone.node: {name} has no {node!r} ({error})') from error

    @staticmethod
    def check_weights(name: str, weights: str | None = None, **_) -> None:
        """Raises: UserError, the weights of such a config can not be had."""
        _check_name(name)
        if weights is not None:
            _read(name, weights)

    def init_weights(self) -> None:
        super().init_weights()
        if self.weights is None:
            return
        own = self.network.state_dict()
        state = {_OLD_DENSENET.sub(r'\1\2', key): value for key, value in _read(self.name, self.weights).items()}
        cut = self._whole - own.keys()
        state = {key: value for key, value in state.items() if key not in cut}
        for key in own.keys() - state.keys():
            if key.endswith('num_batches_tracked'):  # older files have none
                state[key] = own[key]
        problems = differences(state, own)
        if problems:
            listed = '; '.join(f'{len(keys)} {kind}: {shorten(keys)}' for kind, keys in problems.items())
            raise UserError(f'{self.weights}: these are not the weights of {self.name} of torchvision ({listed})')
        self.network.load_state_dict(state)

    def normalization(self) -> Normalization | None:
        """Of the weights that torchvision names, also where they are a file under its name there; else None."""
        entry = _entry(self.name, self.weights)
        if entry is None:
            return None
        preset = entry.transforms()
        return Normalization(*(tuple(255 * value for value in values) for values in (preset.mean, preset.std)))

    def forward(self, inputs: Tensor) -> tuple[Tensor]:
        """Args: images (B, 3, h, w), normalised. Returns the map (B, D, H, W)."""
        return (self.network(inputs)['map'],)


def _check_name(name: str) -> None:
    import torchvision.models

    names = torchvision.models.list_models(torchvision.models)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=5) or names
        raise UserValueError(f'model.backbone.name: torchvision has no classifier {name!r}; there are {shorten(near)}')


@torch.no_grad()
def _last_map(network: nn.Module, name: str) -> str:
    """The node of the last map that has places, before it is pooled or classified."""
    from torchvision.models import VisionTransformer
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    nodes = get_graph_node_names(network)[1]
    outputs = create_feature_extractor(network, nodes).eval()(torch.zeros(1, 3, _SIDE, _SIDE))
    modules = dict(network.named_modules())
    maps = [
        node
        for node in nodes
        if isinstance(outputs[node], Tensor)
        and outputs[node].ndim == 4
        and min(outputs[node].shape[2:]) > 1
        and not isinstance(modules.get(node), nn.AdaptiveAvgPool2d)
        and not node.startswith('classifier')
    ]
    if isinstance(network, VisionTransformer) or not maps:
        raise UserValueError(
            f'model.backbone.name: {name} of torchvision ends in no feature map; a ViT is had by '
            "type='mmpretrain.TIMMBackbone' or 'TransformersBackbone' (docs/configs.md)"
        )
    return maps[-1]


def _entry(name: str, weights: str | None):
    """Torchvision's entry for weights by name, or by the name of their file; None for others."""
    from torchvision.models import get_model_weights

    entries = get_model_weights(name)
    if weights == 'DEFAULT' or weights in entries.__members__:
        return entries[weights]
    file = None if weights is None else Path(weights).name
    return next((entry for entry in entries if PurePosixPath(urlparse(entry.url).path).name == file), None)


def _read(name: str, weights: str) -> dict[str, Tensor]:
    path, entry = Path(weights), _entry(name, weights)
    advice = 'or train from scratch with model.backbone.weights=None'
    try:
        if path.is_file():
            state = read_weights(path)
        elif entry is not None and path.name == weights:
            state = load_url(entry.url)
        else:
            from torchvision.models import get_model_weights

            known = shorten(list(get_model_weights(name).__members__)) or 'none'
            raise UserError(
                f'{weights}: there is no such file, and torchvision has no weights of this name for {name} (it has '
                f'{known}); name a file or one of these, {advice}'
            )
    except UserError:
        raise
    except Exception as error:  # of the network, or by what the file is
        reason = first_line(error)
        if path.is_file():
            raise UserError(f'{path}: holds no weights that can be read safely ({reason})') from error
        raise UserError(
            f'the weights {weights} of {name} can not be fetched ({reason}); fetch {entry.url} on a machine with a '
            f'network and set model.backbone.weights=FILE, {advice}'
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f'{weights}: holds no state dict; expected names and tensors, as torchvision has them')
    return state
