"""Envoy's resources, one at a time, from the plan: bytes with a version that is the hash of their content."""
