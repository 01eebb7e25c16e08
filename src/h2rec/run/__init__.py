"""One run: its configuration and presets, its stages, the pipeline through them, its report."""
