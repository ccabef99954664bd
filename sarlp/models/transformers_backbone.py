"""Any vision model of transformers as a backbone."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from sarlp.errors import UserError, UserValueError, first_line, shorten
from sarlp.io.json_file import read_json
from sarlp.io.quiet import quiet_transformers
from sarlp.io.weights_file import read_weights
from sarlp.models.normalization import Normalization
from sarlp.registry import MODELS

_SIDE = 224  # px; and twice that, by which tokens of places are told from those in front
_FILES = ('*.json', 'model.safetensors', 'model-*-of-*.safetensors')


@MODELS.register_module()
class TransformersBackbone(BaseModule):
    """A model of ``transformers.AutoModel`` that takes images: ConvNeXt, ViT, DINOv2, Swin, the image half of CLIP.

    Its last hidden state is given on, a map or tokens. What comes before the tokens of the places (the [CLS] token,
    registers) is dropped, but for the first one with ``image_token``. Images may be of any size whose sides are
    multiples of the stride; positional embeddings are interpolated. No code of the hub is run, no attention kernel of
    it taken.

    Args:
        name_or_folder: a folder of ``save_pretrained``, or a name on the Hugging Face hub, which is fetched once. Its
            config is needed wherever the model is built, its weights where training starts.
        config: in its place, entries of a configuration with ``model_type``, for a model from scratch.
        image_token: give the first token, of the whole image, in front of the others.
        pretrained: read the weights of ``name_or_folder``, by ``init_weights()``.
    """

    def __init__(
        self,
        name_or_folder: str | None = None,
        config: Mapping[str, Any] | None = None,
        image_token: bool = False,
        pretrained: bool = True,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        sources: list[str | Mapping[str, Any]] = [value for value in (name_or_folder, config) if value is not None]
        if len(sources) != 1:
            raise UserValueError('TransformersBackbone takes either name_or_folder or config')
        self.name_or_folder = name_or_folder
        self.pretrained = pretrained
        self.image_token = image_token
        self._config, self._class = _architecture(*sources)
        with torch.device('meta'):  # where nothing is computed
            self._forward_options: dict[str, Any] = {}
            probe = self._build()
            if 'interpolate_pos_encoding' in inspect.signature(probe.forward).parameters:
                self._forward_options['interpolate_pos_encoding'] = True
            self._front, self._stride, idle = _probe(probe, self._forward_options)
        if image_token and not self._front:
            raise UserValueError(
                f'{self._class.__name__} has no token of the whole image: set model.backbone.image_token=False and '
                'model.head.image_token=False'
            )
        self.model = self._build().float()
        for name in idle:  # several processes would wait for their gradients
            self.model.get_parameter(name).requires_grad_(False)

    @staticmethod
    def check_weights(name_or_folder: str | None = None, pretrained: bool = True, **_) -> None:
        """Raises: UserError, the weights of such a config can not be had."""
        if name_or_folder is not None and pretrained:
            _weight_files(_folder(name_or_folder), name_or_folder)

    def init_weights(self) -> None:
        super().init_weights()
        if self.name_or_folder is None or not self.pretrained:
            return
        folder = _folder(self.name_or_folder)
        state = {}
        for file in _weight_files(folder, self.name_or_folder):
            try:
                state.update(read_weights(file))
            except Exception as error:  # by what the file is
                reason = first_line(error)
                raise UserError(f'{file}: holds no weights that can be read safely ({reason})') from error
        try:
            with quiet_transformers():
                loaded, info = self._class.from_pretrained(
                    None, config=self._config, state_dict=state, output_loading_info=True, **_options(self._class)
                )
        except (RuntimeError, ValueError) as error:  # of another shape
            reason = first_line(error)
            raise UserError(f'{folder}: its weights do not fit its config.json ({reason})') from error
        used = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        absent = sorted(used & set(info['missing_keys']))  # transformers would leave them random
        if absent:
            raise UserError(f'{folder}: {len(absent)} weights of {self._class.__name__} are missing: {shorten(absent)}')
        self.model.load_state_dict(loaded.state_dict())

    def normalization(self) -> Normalization | None:
        """Of the folder's ``preprocessor_config.json``; None without one, or without the numbers."""
        if self.name_or_folder is None:
            return None
        file = _folder(self.name_or_folder) / 'preprocessor_config.json'
        facts = read_json(file) if file.is_file() else {}
        scale = facts.get('rescale_factor', 1 / 255) if facts.get('do_rescale', True) else 1
        if not facts.get('do_normalize', True):
            return Normalization((0.0,) * 3, (1 / scale,) * 3)
        mean, std = facts.get('image_mean'), facts.get('image_std')
        if mean is None or std is None:
            return None
        return Normalization(tuple(value / scale for value in mean), tuple(value / scale for value in std))

    def forward(self, inputs: Tensor) -> tuple[Tensor] | tuple[tuple[Tensor, tuple[int, int]]]:
        """Args: images (B, 3, h, w), normalised.

        Returns the map (B, D, H, W), or ((tokens, (H, W)),) with tokens (B, P, D), with ``image_token`` (B, 1 + P, D).
        """
        features = self.model(inputs, **self._forward_options).last_hidden_state
        if features.ndim == 4:
            return (features,)
        height, width = inputs.shape[-2:]
        places = features[:, self._front :]
        tokens = torch.cat([features[:, :1], places], 1) if self.image_token else places
        return ((tokens, (height // self._stride, width // self._stride)),)

    def _build(self) -> nn.Module:
        from transformers import AutoModel

        return AutoModel.from_config(self._config, trust_remote_code=False, **_options(self._class))


def _options(kind: Any) -> dict[str, Any]:
    """Of a model class: the attention of torch, not one that the config asks of the hub; no pooling, if it can be."""
    options: dict[str, Any] = dict(attn_implementation='sdpa' if kind._supports_sdpa else 'eager')
    if 'add_pooling_layer' in inspect.signature(kind.__init__).parameters:
        options['add_pooling_layer'] = False
    return options


def _architecture(source: str | Mapping[str, Any]) -> tuple[Any, Any]:
    """The configuration and the class of a model that takes images, of its name or folder, or of entries."""
    from transformers import MODEL_MAPPING, AutoConfig

    shown = dict(source) if isinstance(source, Mapping) else source
    try:
        if isinstance(source, Mapping):
            config = AutoConfig.for_model(**source)
        else:
            config = AutoConfig.from_pretrained(_folder(source), trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:  # transformers raises many kinds, by what is in the config
        reason = first_line(error)
        raise UserError(f'{shown}: is no model of transformers ({reason[:150]})') from error
    config = getattr(config, 'vision_config', config)  # the half of CLIP and its like that sees
    kind: Any = MODEL_MAPPING.get(type(config), None)  # its annotation also has the tuples of other mappings
    if kind is None or kind.main_input_name != 'pixel_values':
        raise UserError(f'{shown}: {config.model_type!r} is no model that takes images')
    return config, kind


def _probe(network: nn.Module, options: dict[str, Any]) -> tuple[int, int, list[str]]:
    """Tokens in front of those of the places, stride in px (0 for a map, which says it), and parameters without use."""
    network.eval()
    shapes = []
    for side in (_SIDE, 2 * _SIDE):
        features = network(torch.zeros(1, 3, side, side), **options).last_hidden_state
        shapes.append(features.shape)
    features.sum().backward()
    idle = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    if len(shapes[0]) == 4:
        return 0, 0, idle
    places = (shapes[1][1] - shapes[0][1]) // 3  # four times as many in the larger image
    stride = round(_SIDE / max(places, 1) ** 0.5)
    front = shapes[0][1] - places
    if front < 0 or [(side // stride) ** 2 + front for side in (_SIDE, 2 * _SIDE)] != [shape[1] for shape in shapes]:
        raise UserError(f'the tokens of {type(network).__name__} lie on no grid: {[tuple(shape) for shape in shapes]}')
    return front, stride, idle


def _folder(name_or_folder: str) -> Path:
    """The folder itself, or that of the hub's cache, where what is not there is fetched."""
    if Path(name_or_folder).is_dir():
        return Path(name_or_folder)
    from huggingface_hub import snapshot_download

    reason = 'it has no config.json'
    for offline in (True, False):
        try:
            folder = Path(snapshot_download(name_or_folder, allow_patterns=[*_FILES], local_files_only=offline))
            if (folder / 'config.json').is_file() and (not offline or _found(folder)):
                return folder
        except Exception as error:  # the hub's client raises many kinds, none of them documented
            reason = first_line(error)
    raise UserError(
        f'{name_or_folder}: there is no such folder, and no such model could be fetched from the hub ({reason}). '
        'Without a network, copy config.json, preprocessor_config.json and model.safetensors of it into a folder '
        'on another machine, and set model.backbone.name_or_folder to that folder'
    )


def _found(folder: Path) -> list[Path]:
    for pattern in (*_FILES[1:], 'pytorch_model.bin'):
        files = sorted(folder.glob(pattern))
        if files:
            return files
    return []


def _weight_files(folder: Path, name: str) -> list[Path]:
    files = _found(folder)
    if not files:
        raise UserError(
            f'{name}: holds no weights (model.safetensors or pytorch_model.bin); put them there, or train from scratch '
            'with model.backbone.pretrained=False'
        )
    return files
