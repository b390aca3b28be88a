"""LeaderWorkerSet's controller: starts, restarts and ends the pods of one replica together."""
