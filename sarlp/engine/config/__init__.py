"""What a config says: read, changed from the command line, checked, and named where a part refuses it."""
