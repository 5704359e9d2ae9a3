"""The benchmark: ``python -m painterly_harmonize.benchmark``, or ``painterly bench``.

Every measurement runs in a process of its own (``processes``): whole runs by preset (``whole_run``), iterations and
matching beside the plain twin (``passes``, ``plain_twin``), and peak memory (``memory``).
"""
