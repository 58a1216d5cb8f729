"""Incremental computation: pure queries over inputs, memoised, with recorded reads. Called by every pure room above; knows nothing of meshes."""

from lateen.incremental.db import Cycle, Db, Index, Input, Query, index, query

__all__ = ["Cycle", "Db", "Index", "Input", "Query", "index", "query"]
