"""Typed objects, exactly as users write them: Istio's kinds, the Gateway API's, Kubernetes' own. Decoded by `config.decode`; read by `mesh`."""
