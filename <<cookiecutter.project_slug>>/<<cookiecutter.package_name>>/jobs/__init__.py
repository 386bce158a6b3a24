"""Jobs off the line, each an entry point of its own."""
