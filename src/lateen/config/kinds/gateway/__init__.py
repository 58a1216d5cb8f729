"""Kubernetes Gateway API kinds (gateway.networking.k8s.io), one file each."""
