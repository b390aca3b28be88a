"""The stack on one machine: its cluster, the tool chain that builds it, and stand-ins for what cannot be had."""
