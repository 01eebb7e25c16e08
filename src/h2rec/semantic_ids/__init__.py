"""Semantic IDs: quantizers, tokenizing a catalogue, collisions, new items, audit, interchange."""
