"""Istio's kinds, one file each. Field truth: Istio's CRDs; a test holds every path of them against these types."""
