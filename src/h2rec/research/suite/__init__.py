"""Several runs at once: models, data sets and seeds from one YAML file, their tests, tables and report."""
