"""One node per machine: the mesh side of its pods.

Certificates, the relay of Envoy's configuration stream with its last known good, DNS, redirect rules, and Envoy itself.

Called by `local` (pods as processes) and `kubernetes` (the daemon set). It runs on every machine, so it stays small and imports only `wire` and `base`.
"""
