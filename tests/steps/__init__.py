"""Programs that run and servers that answer."""
