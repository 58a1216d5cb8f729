"""How a pod is set apart from its neighbours: one seam (`seam.py`), one file per way of doing it."""
