"""The stack on one machine: its cluster, the tool chain that builds it, and the stand-ins that it and rehearsals run on."""
