"""Stand-in for the Kubernetes provider: server-side apply of any kind, awaits, drift, patches.

It keeps to what the official provider (4.34) does where a program can notice: names, awaits and their annotations
(``pulumi.com/skipAwait``, ``…/timeoutSeconds``, ``…/patchForce``, ``…/patchFieldManager``, ``…/waitFor`` is refused),
replacement of what cannot be changed in place, ``ignoreChanges`` that leaves a field to its owner. It is stricter in
two places: an unknown field is an error and not a warning, and a ``*Patch`` of something that does not exist is refused
instead of creating it. It has no Helm: `Release` and `Chart` are refused.
"""
