"""Makers of annotation files and label embeddings; ``tools/dataset_converters`` calls them from the command line."""
