from sarlp.inference.model import PRECISIONS, Predictor, init_model, prepare_for_inference

__all__ = ['PRECISIONS', 'Predictor', 'init_model', 'prepare_for_inference']
