"""Namespaces as selectors see them. Called where the mesh configuration chooses namespaces by their labels."""

from lateen.config import store
from lateen.config.kinds.kubernetes.core import Namespace
from lateen.config.kinds.values import Labels, Map
from lateen.incremental import Db, query

NAME = "kubernetes.io/metadata.name"
"""The label that every namespace has. Source: Kubernetes, admission of namespaces."""


@query
def namespace_labels(db: Db, name: str) -> Labels:
    """A namespace's labels; of one that nobody wrote its name alone."""
    written = store.one(db, Namespace, "", name)
    return Map({**(written.meta.labels if written else {}), NAME: name})
