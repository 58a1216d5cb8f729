"""What the mesh would do, and why: read-only views over what is emitted, meant and written."""
