import mmpretrain.models  # noqa: F401  registers ResNet and the data preprocessor under the scope mmpretrain

from sarlp.models.bilinear_attention import LowRankBilinearAttention
from sarlp.models.classifier import MultiLabelClassifier
from sarlp.models.clip_resnet import CLIPResNet
from sarlp.models.data_preprocessor import DataPreprocessor
from sarlp.models.heads import BaselineHead, SARLPHead
from sarlp.models.label_embedding import LabelEmbedding
from sarlp.models.label_recovery import LabelRecovery
from sarlp.models.lora import merge_adapters
from sarlp.models.sgfe import SGFE
from sarlp.models.sgre import SGREHead
from sarlp.models.srfl import SRFL
from sarlp.models.token_encoder import TokenEncoder
from sarlp.models.torchvision_backbone import TorchvisionBackbone
from sarlp.models.transformers_backbone import TransformersBackbone

__all__ = [
    'SGFE',
    'SRFL',
    'BaselineHead',
    'CLIPResNet',
    'DataPreprocessor',
    'LabelEmbedding',
    'LabelRecovery',
    'LowRankBilinearAttention',
    'MultiLabelClassifier',
    'SARLPHead',
    'SGREHead',
    'TokenEncoder',
    'TorchvisionBackbone',
    'TransformersBackbone',
    'merge_adapters',
]
