"""Freed memory is kept while slices are fused, and no longer."""

import json
import subprocess
import sys

import pytest

MEASURED = """
import json, resource
import torch
from MedFusionLib.computing.host_memory import freed_memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        maps = [torch.ones(25 << 18) for _ in range(8)]
        del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mebibytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

with freed_memory_kept():
    faults()
    kept = faults()
    maps = [torch.ones(25 << 18) for _ in range(8)]
    full = resident_mebibytes()
    del maps
print(json.dumps([kept, full - resident_mebibytes()]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the pages of Linux")
def test_memory_freed_while_fusing_is_used_again_and_given_back_afterwards():
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept, given_back = json.loads(done.stdout)
    # 600 MiB were taken and written in between: 150,000 pages.
    assert kept < 1000
    assert given_back > 100
