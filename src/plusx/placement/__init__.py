"""Where it runs: the only package that knows hardware."""
