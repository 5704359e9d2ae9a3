"""``python -m painterly_client.cli``: the same as ``painterly``."""

from painterly_client.cli.app import main

main()
