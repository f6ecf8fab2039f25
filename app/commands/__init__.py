"""Commands of ``tyntegra``, one a module; each has ``add(commands)``."""
