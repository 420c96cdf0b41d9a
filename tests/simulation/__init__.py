"""The whole hall in one process, in virtual time, from one seed: the real shell, faults, checkers."""
