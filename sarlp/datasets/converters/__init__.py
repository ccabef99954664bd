"""Makers of annotation files and label embeddings; ``sarlp convert`` calls them from the command line."""
