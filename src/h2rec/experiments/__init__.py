"""Online experiments: from the log of who was shown what, to whether a change should be kept."""
