"""The wire: Envoy's messages (generated into `pb`), delta framing, the ADS client and the relay. Who calls it: `xds`, `serve`, `node`, `insight`."""
