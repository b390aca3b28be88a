"""The services that the program uses, for mypy alone: the SDK's own file has it read every service of the cloud, which
takes minutes and gigabytes. What is in them is the SDK's own, and judged. One more service: one more line.
"""

from . import artifactregistry as artifactregistry
from . import compute as compute
from . import container as container
from . import kms as kms
from . import organizations as organizations
from . import projects as projects
from . import serviceaccount as serviceaccount
from . import storage as storage
from .provider import Provider as Provider
