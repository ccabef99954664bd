"""A trained model as one ONNX file, checked against PyTorch."""

from sarlp.inference.onnx.export import export_onnx

__all__ = ['export_onnx']
