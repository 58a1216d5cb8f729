"""Incremental computation: pure queries over inputs, memoised, with recorded reads. Called by every pure room above; knows nothing of meshes."""

from lateen.incremental.db import Cycle, Db, Publication, Root
from lateen.incremental.query import Index, Input, Query, index, query

__all__ = ["Cycle", "Db", "Index", "Input", "Publication", "Query", "Root", "index", "query"]
