"""Item texts to embeddings."""
