"""LeaderWorkerSet's controller: what starts, restarts and ends the pods of one replica together."""
