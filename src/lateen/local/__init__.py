"""Pods as processes: what a Deployment means on one machine, and the daemon that keeps it so. Called by the command line and `lateen node`."""
