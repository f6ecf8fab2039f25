import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Counts the pages that the system had to hand out for 30 rounds of one 64 MB block. Huge pages,
# which it hands out as it sees fit, would make the count a matter of luck (41: PR_SET_THP_DISABLE).
CODE = """
import ctypes, resource, numpy as np
from training.memory import keep_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
{call}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(30):
    np.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_keep_freed_memory_blocks_are_used_again() -> None:
    def faults(call: str) -> int:
        run = subprocess.run(
            [sys.executable, "-c", CODE.format(call=call)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        return int(run.stdout)

    assert faults("assert keep_freed_memory()") < faults("pass") / 3
