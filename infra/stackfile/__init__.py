"""The stack file's typed form.

``load_file`` reads one without Pulumi, ``infra.stackfile.pulumi_source.read_pulumi`` reads it inside a program; both
use ``infra.stackfile.load``. ``load`` and ``load_file`` raise all errors together as one ConfigError.
"""

from infra.stackfile.findings.finding import ConfigError, Finding, render
from infra.stackfile.load import load, load_file
from infra.stackfile.reading import Loaded
from infra.stackfile.schema.stack import StackConfig

__all__ = ["ConfigError", "Finding", "Loaded", "StackConfig", "load", "load_file", "render"]
