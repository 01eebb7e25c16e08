"""The HTTP server: thin around `h2rec.retrieval`. Needs the extra `serve`."""
