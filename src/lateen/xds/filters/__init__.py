"""Filters as Envoy messages: `order` says which there are and in what order, one file makes each kind."""
