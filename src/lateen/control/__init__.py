"""The control process: four wiring files (pilot watches and pushes, galley validates, citadel certifies, the node API has pods run) and the
interface for the command line."""
