"""The whole hall, as people use it: `tellerhall up` in its own processes, real browsers, real kills."""
