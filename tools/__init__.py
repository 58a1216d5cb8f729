"""Programs for those who work on Lateen: the demo, the figures, the generated pages."""
