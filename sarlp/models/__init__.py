import importlib
import pkgutil

import mmpretrain.models  # noqa: F401  registers ResNet and the data preprocessor under the scope mmpretrain

from sarlp.models.bilinear_attention import LowRankBilinearAttention
from sarlp.models.boostlu import BoostLUHead
from sarlp.models.classifier import MultiLabelClassifier
from sarlp.models.clip_resnet import CLIPResNet
from sarlp.models.ctran import CTranHead
from sarlp.models.data_preprocessor import DataPreprocessor
from sarlp.models.dualcoop import DualCoOpHead
from sarlp.models.heads import BaselineHead, SARLPHead
from sarlp.models.label_embedding import LabelEmbedding
from sarlp.models.label_recovery import LabelRecovery
from sarlp.models.lora import merge_adapters
from sarlp.models.ml_decoder import MLDecoderHead
from sarlp.models.positive_coop import PositiveCoOpHead
from sarlp.models.q2l import Q2LHead
from sarlp.models.saliency import SaliencyHead
from sarlp.models.sgfe import SGFE
from sarlp.models.sgre import SGREHead
from sarlp.models.srfl import SRFL
from sarlp.models.token_encoder import TokenEncoder
from sarlp.models.torchvision_backbone import TorchvisionBackbone
from sarlp.models.transformers_backbone import TransformersBackbone

for _module in pkgutil.iter_modules(__path__):  # a backbone or a head is a file of this folder, and nothing else
    if _module.name != 'tanh_grid_triton':  # which needs a GPU's compiler
        importlib.import_module(f'{__name__}.{_module.name}')

__all__ = [
    'SGFE',
    'SRFL',
    'BaselineHead',
    'BoostLUHead',
    'CLIPResNet',
    'CTranHead',
    'DataPreprocessor',
    'DualCoOpHead',
    'LabelEmbedding',
    'LabelRecovery',
    'LowRankBilinearAttention',
    'MLDecoderHead',
    'MultiLabelClassifier',
    'PositiveCoOpHead',
    'Q2LHead',
    'SARLPHead',
    'SGREHead',
    'SaliencyHead',
    'TokenEncoder',
    'TorchvisionBackbone',
    'TransformersBackbone',
    'merge_adapters',
]
