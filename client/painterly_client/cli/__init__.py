"""The command line ``painterly``: click commands over the client library. Files, progress and exit codes live here."""

from painterly_client.cli.app import main

__all__ = ["main"]
