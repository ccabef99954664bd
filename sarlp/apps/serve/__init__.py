"""Predictions over HTTP. Nothing here imports torch, but for a model of torch when it is made."""
