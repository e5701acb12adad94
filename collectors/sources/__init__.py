"""Sources, one device family per file: the file name is the source's name."""
