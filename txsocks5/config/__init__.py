"""
The settings of a server, each with its unit and default, and how they stand in a file.
"""

from ._configuration import GSSAPI, SECTIONS, Auth, Configuration, contradictions, quotasOf
from ._differences import differences
from ._file import readConfiguration, readText
from ._forms import BadValue
from ._network import PREFERENCES, Failures, Network, Timeouts, ofFamily
from ._patterns import ANY, readNetwork, readPattern
from ._problems import ConfigurationError, Problem, bareOrQuoted
from ._rules import Group, Limits, Rule, User, timestamp
from ._sizes import NO_QUOTA, Quota, writeQuota, writeRate
from ._values import COMMANDS, IPNetwork, NamedSet, NamePattern, Pattern, readNameServer

__all__ = [
    "ANY",
    "COMMANDS",
    "GSSAPI",
    "NO_QUOTA",
    "PREFERENCES",
    "SECTIONS",
    "Auth",
    "BadValue",
    "Configuration",
    "ConfigurationError",
    "Failures",
    "Group",
    "IPNetwork",
    "Limits",
    "NamePattern",
    "NamedSet",
    "Network",
    "Pattern",
    "Problem",
    "Quota",
    "Rule",
    "Timeouts",
    "User",
    "bareOrQuoted",
    "contradictions",
    "differences",
    "ofFamily",
    "quotasOf",
    "readConfiguration",
    "readNameServer",
    "readNetwork",
    "readPattern",
    "readText",
    "timestamp",
    "writeQuota",
    "writeRate",
]
