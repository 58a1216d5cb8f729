"""Identity: the mesh's certificate authority. Called by `control` (Citadel) and by the command line (`lateen ca issue`).

Who may ask for which identity is `serve`'s and `control`'s affair.
"""
