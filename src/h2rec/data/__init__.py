"""Interactions and items in, time-ordered histories out."""
