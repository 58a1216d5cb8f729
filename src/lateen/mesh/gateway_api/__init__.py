"""The Kubernetes Gateway API, as Gateways and VirtualServices that count like written ones: `listeners`, `attachment`, `backends`, `rules`, `routes`."""
