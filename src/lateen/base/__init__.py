"""Base: names, findings, errors, places. What every room may use; uses none."""
