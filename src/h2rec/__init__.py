"""H2Rec: sequential recommendation for the long tail with hash IDs and semantic IDs."""

__version__ = "0.1.0"
