"""The rows that H2Rec is compared with: one file a model, all under the one contract of `h2rec.models.protocol`."""
