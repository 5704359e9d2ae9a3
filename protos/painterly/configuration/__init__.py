"""One settings object per service, read from flags, the environment and a file, with all faults told together.

A setting is one line in a service's ``Settings``, a frozen dataclass on :class:`ServerSettings`: its type, what it may
be, what it is for, its default. The flag, the environment variable, the key in the file and the line that
``painterly config show`` prints follow from it.
"""

from painterly.configuration.fields import Between, Matching, OneOf, Secret, SettingsError, Variable
from painterly.configuration.options import configure, settings_options
from painterly.configuration.reading import Configuration, read_configuration
from painterly.configuration.server import ServerSettings, available_cores

__all__ = [
    "Between",
    "Configuration",
    "Matching",
    "OneOf",
    "Secret",
    "ServerSettings",
    "SettingsError",
    "Variable",
    "available_cores",
    "configure",
    "read_configuration",
    "settings_options",
]
