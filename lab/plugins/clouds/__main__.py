"""Program that the engine starts through ``pulumi-resource-aws`` and its siblings; its first argument is the cloud."""

import sys

from lab.plugins import rehearsal
from lab.plugins.clouds.provider import CloudStandIn
from lab.plugins.process import serve

package = sys.argv.pop(1)
current = rehearsal.current()
if current is None:
    sys.exit(
        f"pulumi-resource-{package} on this PATH is a stand-in for rehearsals and {rehearsal.VARIABLE} is not set: "
        "take its folder off PATH, and let Pulumi fetch the official plugin"
    )
now = current
serve(lambda engine: CloudStandIn(engine, package, now))
