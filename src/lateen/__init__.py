"""Lateen: a service mesh with real Envoy as its data plane and the Istio API as its language. Rooms and their order: ARCHITECTURE.md."""
