"""Stand-ins for the providers of aws, azure-native and gcp, for rehearsals only (see `lab.plugins.rehearsal`).

One provider (`provider`) serves all three; what differs between the clouds is data (``facts/*.yaml``). A cloud is a
folder with a JSON file for each resource (`cloud`); nothing here ever talks to a real one. They are installed apart
from the other stand-ins (`launchers.install_clouds`), never by ``make local``, and refuse to start outside a rehearsal,
so that nobody's stack can land on them by accident.

=============  ====================================================================================================
`sdk`          which inputs and outputs a type has, from the installed SDK's classes, and whether values fit them
`facts`        per type: ids, computed outputs, defaults, frozen inputs, references to other types; with sources
`outputs`      what a cloud answers with
`cloud`        the folder, shared between processes
`operations`   create, read, update and delete as a cloud does them; answers to the functions of the packages
`failures`     throttles, quotas, stock-outs and half-way time-outs on demand
`accounts`     whose credentials these are, and which accounts the program allows
`credentials`  the programs that fetch a cluster's short-lived credential
=============  ====================================================================================================
"""

CLOUD_LAUNCHERS = {
    **{f"pulumi-resource-{cloud}": f"lab.plugins.clouds {cloud}" for cloud in ("aws", "azure-native", "gcp")},
    **{
        program: f"lab.plugins.clouds.credentials {program}"
        for program in ("aws", "gke-gcloud-auth-plugin", "kubelogin")
    },
}
"""For rehearsals only: on a user's PATH they would hide the real programs."""
