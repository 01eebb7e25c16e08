"""Pure functions of tensors: ranking, alignment, masking."""
