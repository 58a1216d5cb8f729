"""What users wrote: typed objects, decoding with places, validation, defaults, and the store queries read."""
