"""What research needs beside single runs: suites, searches, cold start, and what runs tell of a model's inside."""
