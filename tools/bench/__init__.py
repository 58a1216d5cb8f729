"""The figures: `./run bench [NAME…]`. Several runs each, medians, stages as they happen; nothing here is a test."""
