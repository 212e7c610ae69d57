"""Training: what a GLM learns from shards, thin on purpose."""
