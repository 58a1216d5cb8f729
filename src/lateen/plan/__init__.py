"""What a proxy will do, as frozen values that mention neither YAML kinds nor Envoy messages. Reads `mesh`; read by `xds`."""
