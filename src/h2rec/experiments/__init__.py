"""The pipeline as cached stages, its configuration, and its reports."""
