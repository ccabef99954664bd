from sarlp.inference.model import Predictor, init_model, prepare_for_inference
from sarlp.models.precision import PRECISIONS

__all__ = ['PRECISIONS', 'Predictor', 'init_model', 'prepare_for_inference']
