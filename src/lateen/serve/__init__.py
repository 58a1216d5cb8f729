"""The doors to proxies: what a view gets, sessions per connection, the ledger of acknowledgements, and the gRPC service over them."""
