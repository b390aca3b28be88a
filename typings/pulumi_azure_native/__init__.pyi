"""The services that the program uses, for mypy alone: the SDK's own file has it read every service of the cloud, which
takes minutes and gigabytes. What is in them is the SDK's own, and judged. One more service: one more line.
"""

from . import authorization as authorization
from . import containerregistry as containerregistry
from . import containerservice as containerservice
from . import keyvault as keyvault
from . import managedidentity as managedidentity
from . import monitor as monitor
from . import network as network
from . import operationalinsights as operationalinsights
from . import resources as resources
from . import storage as storage
from .provider import Provider as Provider
