"""`lateen agent`: the mesh beside a process that is in none of its namespaces. One Envoy, its certificate, its configuration, and the process's health.

It needs a certificate and control's TCP port, and no right beyond its user's. Called by `cli`; the parts are `node`'s.
"""

from typing import Final

WATCH: Final = "/lateen.v1.Agents/Watch"
LEAVE: Final = "/lateen.v1.Agents/Leave"
"""What agents ask of control."""
