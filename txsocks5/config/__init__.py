"""
The settings of a server, each with its unit and default.
"""

from ._configuration import GSSAPI, Auth, Configuration
from ._network import PREFERENCES, Failures, Network, Timeouts, ofFamily
from ._patterns import ANY, readNetwork, readPattern
from ._rules import Group, Limits, Rule, User
from ._values import IPNetwork, NamedSet, NamePattern, Pattern, Quota

__all__ = [
    "ANY",
    "GSSAPI",
    "PREFERENCES",
    "Auth",
    "Configuration",
    "Failures",
    "Group",
    "IPNetwork",
    "Limits",
    "NamePattern",
    "NamedSet",
    "Network",
    "Pattern",
    "Quota",
    "Rule",
    "Timeouts",
    "User",
    "ofFamily",
    "readNetwork",
    "readPattern",
]
