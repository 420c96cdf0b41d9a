"""Real faults: three Ray nodes on this machine, a hall over them, steady load, and kill -9 of whatever there is."""
