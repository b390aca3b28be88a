"""The stack file's typed form.

``load_file`` reads one without Pulumi, ``infra.config.pulumi_source.read_pulumi`` reads it inside a program; both end
in ``load``. Errors come all together as one ConfigError.
"""

from infra.config.findings import ConfigError, Finding, render
from infra.config.load import load, load_file
from infra.config.reading import Loaded
from infra.config.stack import StackConfig

__all__ = ["ConfigError", "Finding", "Loaded", "StackConfig", "load", "load_file", "render"]
