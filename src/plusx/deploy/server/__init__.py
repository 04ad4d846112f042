"""The HTTP server: what was trained, asked over HTTP by programs and by its own page."""
