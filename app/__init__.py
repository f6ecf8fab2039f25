"""The service: text -> tokens -> batch -> session -> vectors -> store -> hits -> probe report.

Imports neither torch nor transformers; ``training`` and ``export`` import it, never the other way.
"""

__version__ = "0.1.0"
