"""Kubernetes' own kinds, as far as a mesh and its local pods read them; the rest of a pod's fields are kept opaque, as `Json`."""
